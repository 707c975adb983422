from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from sweeper.statistics import clopper_pearson_interval, wilson_interval


def test_wilson_at_the_papers_rate() -> None:
    interval = wilson_interval(0.7755 * 1100, 1100, 0.05)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.750, 0.799)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.001, 0.5))
def test_both_agree_with_scipy(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    for ours, method in ((wilson_interval, "wilson"), (clopper_pearson_interval, "exact")):
        theirs = binomtest(k, n).proportion_ci(1 - alpha, method=method)
        assert (ours(k, n, alpha).low, ours(k, n, alpha).high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_no_query_is_undefined_and_impossible_counts_are_refused() -> None:
    assert math.isnan(wilson_interval(0, 0, 0.05).low) and math.isnan(clopper_pearson_interval(0, 0, 0.05).high)
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson_interval(5, 4, 0.05)
