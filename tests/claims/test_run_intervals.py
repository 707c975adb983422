"""Interval estimates over runs against exact and published tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeper.claims import run_intervals
from sweeper.claims.run_intervals import estimate_spread_difference


def test_share_difference_has_the_sign_of_the_exact_unconditional_test() -> None:
    from scipy import stats

    for up, down, n in [(5, 0, 6), (4, 0, 6), (8, 1, 12), (6, 1, 12), (0, 0, 5)]:
        first, second = [1.0] * up + [0.0] * (n - up), [1.0] * down + [0.0] * (n - down)
        found = run_intervals.estimate_share_difference(first, second, n, 0).estimate_at_level(0.05)
        exact = stats.boschloo_exact([[up, down], [n - up, n - down]], alternative="greater").pvalue
        assert (found.low > 0) == (exact < 0.025)
        assert found.low <= (up - down) / n <= found.high and found.n == 2 * n


def test_share_difference_of_an_empty_arm_is_undefined() -> None:
    found = run_intervals.estimate_share_difference([], [1.0], 1, 2).estimate_at_level(0.05)
    assert math.isnan(found.low) and found.exclusions.runs == 3


def test_predicted_share_intervals_narrow_with_seeds() -> None:
    estimate = run_intervals.estimate_share_difference([1.0, 0.0, 1.0, 1.0], [0.0] * 4, 4, 0)
    widths = [estimate.predict_interval(0, seeds, 0.05) for seeds in (4, 8, 100, 400)]
    spans = [interval.high - interval.low for interval in widths]
    assert spans == sorted(spans, reverse=True)
    assert widths[0] == estimate.compute_interval(0.05)


def test_spread_of_one_cell_is_the_brown_forsythe_test() -> None:
    from scipy import stats

    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 3, 9), rng.normal(0, 1, 9)
    estimate = estimate_spread_difference({(): first}, {(): second}, 0.0)
    distances = [np.abs(values - np.median(values)) for values in (first, second)]
    expected = stats.ttest_ind(*distances, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    interval = estimate.compute_interval(0.05)
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_spread_is_not_applicable_below_three_finished_runs() -> None:
    two = {("a",): np.array([0.1, math.nan, 0.9])}
    found = estimate_spread_difference(two, {("a",): np.array([0.1, 0.2, 0.3])}, 0.0)
    assert math.isnan(found.estimate) and "fewer than 3 finished runs" in found.method
