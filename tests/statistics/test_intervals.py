from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from sweeper.statistics import clopper_pearson_interval, wilson_interval
from sweeper.statistics.intervals import wilson_intervals


def test_wilson_interval_at_the_papers_rate() -> None:
    interval = wilson_interval(0.7755 * 1100, 1100, 0.05)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.750, 0.799)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.001, 0.5))
def test_wilson_and_clopper_pearson_intervals_match_scipy(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    for ours, method in ((wilson_interval, "wilson"), (clopper_pearson_interval, "exact")):
        theirs = binomtest(k, n).proportion_ci(1 - alpha, method=method)
        assert (ours(k, n, alpha).low, ours(k, n, alpha).high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_intervals_are_undefined_without_trials_and_refuse_impossible_counts() -> None:
    assert math.isnan(wilson_interval(0, 0, 0.05).low) and math.isnan(clopper_pearson_interval(0, 0, 0.05).high)
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson_interval(5, 4, 0.05)


def test_wilson_intervals_equal_wilson_interval_element_by_element() -> None:
    rates = np.array([0.0, 0.3, 1.0, 0.5, np.nan])
    sizes = np.array([5, 40, 7, 0, 3.0])
    low, high = wilson_intervals(rates, sizes, 0.05)
    for i in range(3):
        one = wilson_interval(rates[i] * sizes[i], sizes[i], 0.05)
        assert (low[i], high[i]) == pytest.approx((one.low, one.high), abs=1e-12)
    assert np.isnan(low[3:]).all() and np.isnan(high[3:]).all()
