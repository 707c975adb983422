"""The exact interval of two independent shares against scipy's exact tests and exact coverage."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from sweeper.statistics.exact_shares import EXACT_RUNS, TwoShares, compute_share_interval, compute_share_p_value


@pytest.mark.parametrize("counts", [(5, 6, 0, 6), (3, 6, 0, 6), (4, 6, 1, 6), (10, 20, 4, 20)])
def test_p_values_of_equal_samples_are_boschloos(counts: tuple[int, int, int, int]) -> None:
    first, n_first, second, n_second = counts
    table = [[first, second], [n_first - first, n_second - second]]
    expected = stats.boschloo_exact(table, alternative="greater").pvalue
    assert compute_share_p_value(TwoShares(*counts)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("counts", [(3, 5, 1, 8), (7, 8, 3, 5)])
def test_p_values_of_unequal_samples_are_barnards(counts: tuple[int, int, int, int]) -> None:
    first, n_first, second, n_second = counts
    table = [[first, second], [n_first - first, n_second - second]]
    expected = stats.barnard_exact(table, alternative="greater").pvalue
    assert compute_share_p_value(TwoShares(*counts)) == pytest.approx(expected, rel=0.01)


def test_interval_is_consistent_with_the_test_and_symmetric() -> None:
    shares = TwoShares(4, 7, 1, 5)
    interval = compute_share_interval(shares, 0.05)
    swapped = compute_share_interval(shares.swap(), 0.05)
    assert (interval.low, interval.high) == pytest.approx((-swapped.high, -swapped.low))
    p = compute_share_p_value(TwoShares(5, 6, 0, 6))
    assert compute_share_interval(TwoShares(5, 6, 0, 6), 2 * p * 1.01).low > 0
    assert compute_share_interval(TwoShares(5, 6, 0, 6), 2 * p * 0.99).low < 0


def test_interval_covers_whatever_the_shares() -> None:
    # Exact, over all tables of five and six runs: no simulation.
    sizes = 5, 6
    intervals = {
        (a, b): compute_share_interval(TwoShares(a, sizes[0], b, sizes[1]), 0.1) for a in range(6) for b in range(7)
    }
    for p1, p2 in [(0.5, 0.5), (0.9, 0.1), (0.2, 0.25), (0.99, 0.6), (0.03, 0.01)]:
        missed = {"low": 0.0, "high": 0.0}
        for (a, b), interval in intervals.items():
            chance = stats.binom.pmf(a, sizes[0], p1) * stats.binom.pmf(b, sizes[1], p2)
            missed["low"] += chance * (interval.low > p1 - p2)
            missed["high"] += chance * (interval.high < p1 - p2)
        assert max(missed.values()) <= 0.05 + 1e-3


def test_large_samples_use_the_score_interval() -> None:
    n = EXACT_RUNS
    exact = compute_share_interval(TwoShares(n // 2, n, n // 3, n), 0.05)
    score = compute_share_interval(TwoShares((n + 6) // 2, n + 6, (n + 6) // 3, n + 6), 0.05)
    assert (exact.low, exact.high) == pytest.approx((score.low, score.high), abs=0.03)
    published = compute_share_interval(TwoShares(56, 70, 48, 80), 0.05)
    # Newcombe 1998, table II: Miettinen and Nurminen's interval of 56/70 - 48/80, with its factor N / (N - 1).
    assert (published.low, published.high) == pytest.approx((0.0528, 0.3382), abs=0.002)


def test_extremes_end_at_one_and_empty_samples_have_no_interval() -> None:
    assert compute_share_interval(TwoShares(3, 3, 0, 3), 0.05).high == 1.0
    assert math.isnan(compute_share_interval(TwoShares(0, 0, 1, 2), 0.05).low)
