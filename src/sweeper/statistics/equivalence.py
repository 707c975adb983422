"""Equivalence of two arms within a margin: two one-sided tests (Schuirmann 1987; Lakens 2017).

That a difference is not significant does not show that there is none; this does. Margins are rates: 0.02 = 2 points.
"""

from __future__ import annotations

import math
from typing import Any

import scipy

from sweeper.errors import DataError


def tost(estimate: float, standard_error: float, df: float, margin: float, alpha: float) -> dict[str, Any]:
    """Test that a difference lies within -margin..margin, from its estimate, standard error and degrees of freedom.

    For one variance, estimated on `df`. A mean over queries and seeds has two (`paired.Spread`) and no single `df`:
    give `tost_interval` its interval at 1 - 2 alpha.

    Returns `p_lower` (of "the difference is -margin or less"), `p_upper` (of "it is margin or more"), `p` (the larger:
    both must be rejected, so neither is corrected), `interval` [low, high] at 1 - 2 alpha and `equivalent`: p < alpha,
    which is the same as the interval inside the margins. `df` infinite: normal theory. All NaN, and not equivalent,
    where an input is NaN or the standard error is 0: a spread that was not seen is not known to be none (use
    `tost_interval` with an interval that allows for it). Raises DataError for a margin or alpha out of range, and a
    negative standard error.
    """
    _check_equivalence_inputs(margin, alpha, standard_error)
    if not all(map(math.isfinite, (estimate, standard_error))) or not df > 0 or standard_error == 0:
        return _make_tost_result(math.nan, math.nan, (math.nan, math.nan), alpha)
    half = _compute_quantile(1 - alpha, df) * standard_error
    lower = _compute_upper_tail((estimate + margin) / standard_error, df)
    upper = _compute_upper_tail((margin - estimate) / standard_error, df)
    return _make_tost_result(lower, upper, (estimate - half, estimate + half), alpha)


def tost_from_interval(
    estimate: float,
    low: float,
    high: float,
    *,
    interval_alpha: float,
    margin: float,
    alpha: float,
    df: float = math.inf,
) -> dict[str, Any]:
    """The same from a two-sided interval at 1 - interval_alpha, which may be lopsided: each side has its own spread.

    With interval_alpha = 2 alpha, `interval` is the one given and `equivalent` says that it lies inside the margins,
    whatever `df`; else `df` carries it from one level to the other. NaN, and not equivalent, where a side has no width.
    Raises DataError as `tost` does, and for an estimate outside its interval or an interval_alpha out of range.
    """
    _check_equivalence_inputs(margin, alpha, 0.0)
    if not 0 < interval_alpha < 1:
        raise DataError("equivalence test", requested="interval_alpha between 0 and 1", found=f"{interval_alpha}")
    if low > estimate or high < estimate:
        raise DataError(
            "equivalence test", requested="an estimate inside its interval", found=f"{low}..{estimate}..{high}"
        )
    if not all(map(math.isfinite, (estimate, low, high))) or not df > 0 or low == estimate or high == estimate:
        return _make_tost_result(math.nan, math.nan, (math.nan, math.nan), alpha)
    scale = _compute_quantile(1 - interval_alpha / 2, df)
    below, above = (estimate - low) / scale, (high - estimate) / scale
    wanted = _compute_quantile(1 - alpha, df)
    lower, upper = (
        _compute_upper_tail((estimate + margin) / below, df),
        _compute_upper_tail((margin - estimate) / above, df),
    )
    return _make_tost_result(lower, upper, (estimate - wanted * below, estimate + wanted * above), alpha)


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


def _make_tost_result(lower: float, upper: float, interval: tuple[float, float], alpha: float) -> dict[str, Any]:
    p = math.nan if math.isnan(lower) or math.isnan(upper) else max(lower, upper)
    return {
        "p_lower": lower,
        "p_upper": upper,
        "p": p,
        "interval": list(interval),
        "equivalent": p < alpha,
    }
