"""Simulated comparisons, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.statistics import ComparisonDesign
from sweeper.statistics.comparison_simulation import _simulate_arms, compute_intervals, simulate_intervals
from sweeper.statistics.paired import compute_two_way_interval


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.floats(0, 1), st.integers(0, 2**31))
def test_simulated_intervals_equal_those_of_a_comparison(
    queries: int, seeds: int, discordance: float, seed: int
) -> None:
    """Sparse ones and single queries included."""
    design = ComparisonDesign(queries, seeds, discordance, seed_sd=0.05, correlation=0.3)
    first, second = _simulate_arms(0.1, design, 3, generator(seed))
    for low, high, table in zip(*compute_intervals(first, second, design), first - second, strict=True):
        expected, _ = compute_two_way_interval(table.astype(float), alpha=0.05)
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_simulated_differences_match_the_model(correlation: float) -> None:
    design = ComparisonDesign(500, 3, 0.3, correlation=correlation)
    first, second = _simulate_arms(0.1, design, 200, generator())
    drawn = (first - second).astype(float)
    assert drawn.mean() == pytest.approx(0.1, abs=0.006)
    assert (drawn != 0).mean() == pytest.approx(0.3, abs=0.006)
    flat = drawn.reshape(-1, 3)
    assert np.corrcoef(flat[:, 0], flat[:, 2])[0, 1] == pytest.approx(correlation, abs=0.015)


def test_simulated_seed_spread_is_that_of_two_arms() -> None:
    design = ComparisonDesign(4000, 2, seed_sd=0.03)
    first, second = _simulate_arms(0.0, design, 300, generator())
    by_seed = (first - second).mean(axis=1)
    assert by_seed.std() == pytest.approx(math.sqrt(2 * 0.03**2 + 0.2 / 4000), rel=0.1)


def test_arms_with_independent_seeds_each_have_the_seed_spread() -> None:
    design = ComparisonDesign(4000, 4, seed_sd=0.03, sd_ratio=3.0)
    arms = [arm.mean(axis=1) for arm in _simulate_arms(0.1, design, 400, generator())]
    for arm in arms:
        assert arm.std(axis=1, ddof=1).mean() == pytest.approx(0.03 * 0.921, rel=0.1), "c4 of four seeds is 0.921"
    deviations = [arm - arm.mean(axis=1, keepdims=True) for arm in arms]
    assert abs(np.corrcoef(deviations[0].ravel(), deviations[1].ravel())[0, 1]) < 0.08
    assert (arms[0] - arms[1]).mean() == pytest.approx(0.1, abs=0.006)


@pytest.mark.parametrize("seeds", [2, 3])
def test_independent_seeds_keep_the_level_with_narrower_intervals(seeds: int) -> None:
    widths = []
    for sd_ratio in (None, 3.0):
        design = ComparisonDesign(300, seeds, seed_sd=0.05, sd_ratio=sd_ratio)
        low, high = map(np.concatenate, zip(*simulate_intervals(0.0, design, 2000, 1), strict=True))
        assert (low > 0).mean() < 0.025 + 4 * math.sqrt(0.025 * 0.975 / 2000)
        widths.append(float(np.median(high - low)))
    assert widths[1] < 0.9 * widths[0]
