from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from sweeper.errors import DataError
from sweeper.statistics import Interval, tost, tost_from_interval
from sweeper.statistics.equivalence import EquivalenceResult

NAMES = ("p_lower", "p_upper", "p")


def ends(found: EquivalenceResult) -> list[float]:
    return [found.interval.low, found.interval.high]


def test_tost_matches_statsmodels() -> None:
    differences = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], p=[0.1, 0.77, 0.13], size=400)
    error = differences.std(ddof=1) / 20
    found = tost(differences.mean(), error, 399, 0.06, 0.05)
    p, lower, upper = DescrStatsW(differences).ttost_mean(-0.06, 0.06)
    assert [getattr(found, name) for name in NAMES] == pytest.approx([lower[1], upper[1], p])
    reference = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    assert ends(found) == pytest.approx(list(reference))


def test_tost_needs_precision_to_establish_equivalence() -> None:
    wide, narrow = tost(0.0, 0.05, math.inf, 0.02, 0.05), tost(0.0, 0.005, math.inf, 0.02, 0.05)
    assert not wide.is_equivalent and narrow.is_equivalent
    assert wide.p == pytest.approx(stats.norm.sf(0.4)) and narrow.p == pytest.approx(stats.norm.sf(4))


@settings(max_examples=80, deadline=None)
@given(
    st.floats(-0.5, 0.5),
    st.floats(1e-3, 0.3),
    st.one_of(st.floats(1, 500), st.just(math.inf)),
    st.floats(0.01, 0.5),
    st.floats(0.01, 0.3),
)
def test_tost_decides_by_the_interval_inside_the_margins(
    estimate: float, error: float, df: float, margin: float, alpha: float
) -> None:
    found = tost(estimate, error, df, margin, alpha)
    low, high = ends(found)
    assume(min(abs(low + margin), abs(high - margin)) > 1e-9)
    assert found.is_equivalent == (-margin < low and high < margin)
    mirrored = tost(-estimate, error, df, margin, alpha)
    assert (mirrored.p_lower, mirrored.p) == pytest.approx((found.p_upper, found.p))
    again = tost_from_interval(
        estimate, Interval(low, high), interval_alpha=2 * alpha, margin=margin, alpha=alpha, df=df
    )
    assert [getattr(again, name) for name in NAMES] == pytest.approx([getattr(found, name) for name in NAMES], abs=1e-9)
    assert ends(again) == pytest.approx(ends(found)) and again.is_equivalent == found.is_equivalent


def test_tost_from_interval_converts_the_level() -> None:
    error, df = 0.013, 7.0
    half = stats.t.ppf(0.975, df) * error
    found = tost_from_interval(
        0.01, Interval(0.01 - half, 0.01 + half), interval_alpha=0.05, margin=0.04, alpha=0.05, df=df
    )
    direct = tost(0.01, error, df, 0.04, 0.05)
    assert found.p == pytest.approx(direct.p) and ends(found) == pytest.approx(ends(direct))


def test_tost_from_interval_keeps_asymmetric_sides() -> None:
    """Widened upwards only, as Clopper-Pearson's bounds do: that side alone fails."""
    found = tost_from_interval(0.0, Interval(-0.01, 0.03), interval_alpha=0.1, margin=0.02, alpha=0.05)
    assert found.p_lower < 0.05 < found.p_upper == found.p and not found.is_equivalent
    assert ends(found) == pytest.approx([-0.01, 0.03])


@pytest.mark.parametrize(
    "inputs", [(math.nan, 0.01, 10), (0.0, math.nan, 10), (0.0, 0.01, math.nan), (0.0, 0.0, 10), (0.0, 0.01, 0)]
)
def test_tost_of_undefined_input_is_nan_and_not_equivalent(inputs: tuple[float, float, float]) -> None:
    found = tost(*inputs, 0.02, 0.05)
    assert all(math.isnan(getattr(found, name)) for name in NAMES) and found.is_equivalent is False
    assert all(map(math.isnan, ends(found)))


def test_tost_from_interval_without_width_is_undefined() -> None:
    for low, high in ((0.0, 0.0), (0.0, 0.01), (math.nan, math.nan)):
        found = tost_from_interval(0.0, Interval(low, high), interval_alpha=0.1, margin=0.02, alpha=0.05)
        assert math.isnan(found.p) and found.is_equivalent is False


@pytest.mark.parametrize(("margin", "alpha", "error"), [(0.0, 0.05, 0.1), (0.1, 0.6, 0.1), (0.1, 0.05, -0.1)])
def test_tost_refuses_invalid_arguments(margin: float, alpha: float, error: float) -> None:
    with pytest.raises(DataError):
        tost(0.0, error, 10, margin, alpha)
    with pytest.raises(DataError):
        tost_from_interval(0.5, Interval(0.0, 0.1), interval_alpha=0.1, margin=0.1, alpha=0.05)
    with pytest.raises(DataError):
        tost_from_interval(0.0, Interval(-0.1, 0.1), interval_alpha=1.0, margin=0.1, alpha=0.05)


def test_tost_keeps_its_level_at_the_margin() -> None:
    """Arms that truly differ by the margin are called equivalent in alpha of studies."""
    rng, studies, n = np.random.default_rng(1), 1200, 30
    samples = rng.normal(0.5, 1.0, (studies, n))
    errors = samples.std(axis=1, ddof=1) / math.sqrt(n)
    pairs = zip(samples.mean(axis=1), errors, strict=True)
    wrong = sum(tost(float(mean), float(error), n - 1, 0.5, 0.1).is_equivalent for mean, error in pairs)
    assert abs(wrong / studies - 0.1) < 3 * math.sqrt(0.09 / studies)
