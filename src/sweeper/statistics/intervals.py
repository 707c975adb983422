"""Intervals for one proportion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True)
class Interval:
    """Two-sided interval; NaN where undefined."""

    low: float
    high: float


def wilson(successes: float, n: float, alpha: float) -> Interval:
    """Wilson score interval (Wilson 1927) at two-sided level 1 - alpha. NaN for n = 0. Raises ValueError on bad counts.

    Counts may be fractional: a rate averaged over seeds, on n queries.
    """
    return _confint(successes, n, alpha, "wilson")


def clopper_pearson(successes: float, n: float, alpha: float) -> Interval:
    """Clopper-Pearson interval (1934): never covers less than 1 - alpha. NaN for n = 0. Raises ValueError."""
    return _confint(successes, n, alpha, "beta")


def _confint(successes: float, n: float, alpha: float, method: str) -> Interval:
    if n == 0:
        return Interval(math.nan, math.nan)
    # A mean of rates times n may exceed n by rounding.
    if not -1e-9 <= successes <= n * (1 + 1e-9):
        raise ValueError(f"{successes} successes of {n}")
    low, high = proportion_confint(min(max(successes, 0.0), n), n, alpha=alpha, method=method)
    # At the ends the formulas give 0 and 1 but for rounding.
    return Interval(0.0 if successes <= 0 else max(0.0, float(low)), 1.0 if successes >= n else min(1.0, float(high)))
