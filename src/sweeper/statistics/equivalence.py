"""Equivalence of two arms within a margin: two one-sided tests (Schuirmann 1987; Lakens 2017).

A difference that is not significant does not establish equivalence; this does. Margins are rates: 0.02 = 2 points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy

from sweeper.errors import DataError
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval


@dataclass(frozen=True)
class EquivalenceResult:
    """Result of two one-sided tests; NaN and not equivalent where undefined."""

    p_lower: float
    """P-value of the hypothesis "the difference is -margin or less"."""
    p_upper: float
    """P-value of the hypothesis "the difference is margin or more"."""
    p: float
    """The larger of the two: both hypotheses must be rejected, so neither is corrected."""
    interval: Interval
    """At 1 - 2 alpha."""
    is_equivalent: bool
    """p < alpha, which is the same as the interval inside the margins."""


def tost(estimate: float, standard_error: float, df: float, margin: float, alpha: float) -> EquivalenceResult:
    """Test that a difference lies within -margin..margin, from one variance estimated on `df`.

    A mean over queries and seeds has two variances (`paired.VarianceEstimate`) and no single `df`: use
    `tost_from_interval` with its interval at 1 - 2 alpha.

    Args:
        estimate: the difference, as a rate.
        standard_error: its standard error. 0 leaves the result undefined: a spread that was not observed is unknown.
        df: degrees of freedom; infinite for normal theory.
        margin: the margin, as a rate.
        alpha: level of each one-sided test.

    Returns:
        The p-value, the interval at 1 - 2 alpha, and whether the difference lies within the margin.

    Raises:
        DataError: a margin or alpha out of range, or a negative standard error.

    Example:
        >>> tost(0.01, 0.01, df=30, margin=0.05, alpha=0.05).is_equivalent
        True
    """
    _check_equivalence_inputs(margin, alpha, standard_error)
    if not all(map(math.isfinite, (estimate, standard_error))) or not df > 0 or standard_error == 0:
        return _make_result(math.nan, math.nan, UNDEFINED_INTERVAL, alpha)
    half = _compute_quantile(1 - alpha, df) * standard_error
    lower = _compute_upper_tail((estimate + margin) / standard_error, df)
    upper = _compute_upper_tail((margin - estimate) / standard_error, df)
    return _make_result(lower, upper, Interval(estimate - half, estimate + half), alpha)


def tost_from_interval(
    estimate: float,
    interval: Interval,
    *,
    interval_alpha: float,
    margin: float,
    alpha: float,
    df: float = math.inf,
) -> EquivalenceResult:
    """Test equivalence from a two-sided interval, which may be asymmetric: each side has its own spread.

    With interval_alpha = 2 alpha, the result's interval is the one given, whatever `df`; otherwise `df` converts it
    from one level to the other. Undefined where a side has no width.

    Args:
        estimate: the difference, as a rate.
        interval: its interval at 1 - interval_alpha.
        interval_alpha: level of the interval.
        margin: the margin, as a rate.
        alpha: level of each one-sided test.
        df: degrees of freedom; infinite for normal theory.

    Returns:
        The p-value, the interval at 1 - 2 alpha, and whether the difference lies within the margin.

    Raises:
        DataError: a value out of range, or an estimate outside its interval.

    Example:
        >>> tost_from_interval(0.0, Interval(-0.03, 0.03), interval_alpha=0.1, margin=0.05, alpha=0.05).is_equivalent
        True
    """
    _check_equivalence_inputs(margin, alpha, 0.0)
    low, high = interval.low, interval.high
    if not 0 < interval_alpha < 1:
        raise DataError("equivalence test", requested="interval_alpha between 0 and 1", found=f"{interval_alpha}")
    if low > estimate or high < estimate:
        raise DataError(
            "equivalence test", requested="an estimate inside its interval", found=f"{low}..{estimate}..{high}"
        )
    if not all(map(math.isfinite, (estimate, low, high))) or not df > 0 or low == estimate or high == estimate:
        return _make_result(math.nan, math.nan, UNDEFINED_INTERVAL, alpha)
    scale = _compute_quantile(1 - interval_alpha / 2, df)
    below, above = (estimate - low) / scale, (high - estimate) / scale
    quantile = _compute_quantile(1 - alpha, df)
    lower = _compute_upper_tail((estimate + margin) / below, df)
    upper = _compute_upper_tail((margin - estimate) / above, df)
    return _make_result(lower, upper, Interval(estimate - quantile * below, estimate + quantile * above), alpha)


def _check_equivalence_inputs(margin: float, alpha: float, standard_error: float) -> None:
    if not margin > 0:
        raise DataError("equivalence test", requested="a margin above 0", found=f"{margin}")
    if not 0 < alpha < 0.5:
        raise DataError("equivalence test", requested="alpha between 0 and 0.5", found=f"{alpha}")
    if standard_error < 0:
        raise DataError("equivalence test", requested="a standard error of 0 or more", found=f"{standard_error}")


def _compute_quantile(share: float, df: float) -> float:
    return float(scipy.special.ndtri(share) if math.isinf(df) else scipy.special.stdtrit(df, share))


def _compute_upper_tail(statistic: float, df: float) -> float:
    return float(scipy.special.ndtr(-statistic) if math.isinf(df) else scipy.special.stdtr(df, -statistic))


def _make_result(lower: float, upper: float, interval: Interval, alpha: float) -> EquivalenceResult:
    p = math.nan if math.isnan(lower) or math.isnan(upper) else max(lower, upper)
    return EquivalenceResult(lower, upper, p, interval, p < alpha)
