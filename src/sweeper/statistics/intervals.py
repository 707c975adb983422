"""Intervals for one proportion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy


@dataclass(frozen=True)
class Interval:
    """Two-sided interval; NaN where undefined."""

    low: float
    high: float


def wilson_interval(successes: float, n: float, alpha: float) -> Interval:
    """Wilson score interval (Wilson 1927) at two-sided level 1 - alpha. NaN for n = 0. Raises ValueError on bad counts.

    Counts may be fractional: a rate averaged over seeds, on n queries.
    """
    if n == 0:
        return Interval(math.nan, math.nan)
    successes = _clamp_successes(successes, n)
    rate, squared = successes / n, float(scipy.special.ndtri(alpha / 2)) ** 2
    centre = (rate + squared / (2 * n)) / (1 + squared / n)
    half = math.sqrt(squared * (rate * (1 - rate) + squared / (4 * n)) / n) / (1 + squared / n)
    # At the ends the formula gives 0 and 1 but for rounding.
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(low if successes > 0 else 0.0, high if successes < n else 1.0)


def clopper_pearson_interval(successes: float, n: float, alpha: float) -> Interval:
    """Clopper-Pearson interval (1934): never covers less than 1 - alpha. NaN for n = 0. Raises ValueError."""
    if n == 0:
        return Interval(math.nan, math.nan)
    k = _clamp_successes(successes, n)
    low = float(scipy.special.betaincinv(k, n - k + 1, alpha / 2)) if k > 0 else 0.0
    high = float(scipy.special.betainccinv(k + 1, n - k, alpha / 2)) if k < n else 1.0
    return Interval(low, high)


def _clamp_successes(successes: float, n: float) -> float:
    # A mean of rates times n may exceed n by rounding.
    if not -1e-9 <= successes <= n * (1 + 1e-9):
        raise ValueError(f"{successes} successes of {n}")
    return min(max(successes, 0.0), n)
