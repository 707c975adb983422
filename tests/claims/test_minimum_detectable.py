"""Figures before the run, held against closed forms and against the claims' own intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweeper.claims.kinds import generalises, reaches
from sweeper.claims.minimum_detectable import (
    compute_detectable_divergence,
    compute_established_margins,
    estimate_detectable_margin,
    estimate_reported_study,
    simulate_passes,
)
from sweeper.claims.planned_power import ClaimDesign
from sweeper.config import Claim


def claim(kind: str = "reaches", **fields: object) -> Claim:
    base: dict[str, object] = {"id": "c", "text": "So.", "kind": kind, "margin": 0.05, "direction": "at-least"}
    base |= {"where": {"model": "m"}} | ({"reference": 0.7} if kind == "reaches" else {})
    return Claim.model_validate(base | fields)


def margin(given: Claim, *, n_seeds: int, n_queries: int = 600, studies: int = 200) -> float:
    model = generalises.make_model(n_queries // 2) if given.kind == "generalises" else reaches.make_model(given)
    return estimate_detectable_margin(given, model, n_queries=n_queries, n_seeds=n_seeds, rng=rng(), studies=studies)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.slow
def test_margin_with_many_seeds_is_the_normal_approximation() -> None:
    # Seeds alone spread, and queries hardly matter: t on the seeds, and the power's own quantile.
    found = margin(claim(assumed_seed_sd=0.1, assumed_discordance=0.42), n_queries=1200, n_seeds=30)
    error = math.sqrt(0.1**2 / 30 + 0.21 / (1200 * 30))
    expected = (stats.t.ppf(0.975, 29) + stats.norm.ppf(0.8)) * error
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_margin_shrinks_with_seeds_and_queries() -> None:
    by_seeds = [margin(claim(), n_seeds=n_seeds, studies=100) for n_seeds in (2, 4, 16)]
    assert by_seeds == sorted(by_seeds, reverse=True) and by_seeds[0] > 2 * by_seeds[-1]
    few = margin(claim(), n_queries=60, n_seeds=4, studies=100)
    assert few > by_seeds[1]


@pytest.mark.slow
def test_two_samples_have_a_larger_margin_than_one() -> None:
    one = margin(claim(reference=0.5), n_seeds=4, studies=100)
    two = margin(claim("generalises"), n_seeds=4, studies=100)
    assert two > one


@pytest.mark.parametrize("kind", ["reaches", "generalises"])
@pytest.mark.parametrize("rate", [0.5, 0.97, 0.999])
def test_vectorized_margins_equal_reported_intervals(kind: str, rate: float) -> None:
    given = claim(kind, assumed_seed_sd=0.02, **({"reference": rate} if kind == "reaches" else {}))
    model = generalises.make_model(60) if kind == "generalises" else reaches.make_model(given)
    passed = simulate_passes(rate, (40, 90, 3), 0.2, 0.02, rng())
    passed[0] = 1.0
    found = compute_established_margins(given, model, passed)
    alone = [-estimate_reported_study(model, study).compute_interval(given.alpha).low for study in passed]
    assert found == pytest.approx(alone, abs=1e-12)
    assert len(set(alone)) > 1


def test_one_sample_of_queries_establishes_nothing() -> None:
    design = ClaimDesign(4, {"G1_instruction": 300}, (), ("seed",), rng())
    found = generalises.KIND.estimate_power(claim("generalises"), design)
    assert found.detectable_effect is None and found.is_underpowered is True


def test_detectable_divergence_is_exact() -> None:
    assert math.isnan(compute_detectable_divergence(0.05, 2)), "two of two against none have p = 1/8"
    found = compute_detectable_divergence(0.05, 6)
    assert stats.binom.sf(3, 6, found) == pytest.approx(0.8), "four of six or more are shown"
    assert compute_detectable_divergence(0.05, 100) < found
