"""Power of a claim before the run."""

from __future__ import annotations

import math

import numpy as np
from claim_cases import ONCE, SPOT

from sweeper.claims.planned_power import ClaimDesign, estimate_comparison_power, search_required_seeds


def design(**fields: object) -> ClaimDesign:
    base: dict[str, object] = {"n_seeds": 3, "query_counts": {"G1_tool": 300}, "rows": (), "axes": ("model", "seed")}
    return ClaimDesign(**(base | {"rng": np.random.default_rng(0)} | fields))  # type: ignore[arg-type]


def test_power_needs_queries() -> None:
    assert "not available" in estimate_comparison_power(SPOT, design(query_counts=None), "superior").reason
    assert "no agent" in estimate_comparison_power(SPOT, design(query_counts={}), "superior").reason


def test_small_design_is_underpowered_and_large_one_is_not() -> None:
    few = estimate_comparison_power(ONCE, design(n_seeds=2), "no-better")
    many = estimate_comparison_power(ONCE, design(n_seeds=20, query_counts={"G1_tool": 3000}), "no-better")
    assert few.is_underpowered is True and few.required_seeds is not None
    assert few.reason == f"underpowered: detecting 5 points needs {few.required_seeds} seeds"
    assert many.is_underpowered is False and many.reason == ""


def test_required_seeds_are_searched_on_the_grid() -> None:
    found = search_required_seeds(SPOT, 2, lambda seeds: 0.4 / seeds)
    assert (found.detectable_effect, found.required_seeds, found.is_underpowered) == (0.2, 8, True)
    never = search_required_seeds(SPOT, 2, lambda seeds: math.nan)
    assert never.detectable_effect is None and "more than 200 seeds" in never.reason


def test_run_pairs_differ_in_more_than_the_axis() -> None:
    rows = [{"model": model, "seed": seed} for model in ("a", "b") for seed in (0, 1, 2)]
    assert design(rows=rows).count_run_pairs("model") == 3
