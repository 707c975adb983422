"""Intervals for one proportion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy


@dataclass(frozen=True)
class Interval:
    """A two-sided interval; NaN where undefined."""

    low: float
    high: float


UNDEFINED_INTERVAL = Interval(math.nan, math.nan)


def wilson_interval(successes: float, n: float, alpha: float) -> Interval:
    """Compute the Wilson score interval (Wilson 1927) of a proportion.

    Args:
        successes: successes; may be fractional, such as a rate averaged over seeds times n queries.
        n: trials; the interval is NaN for 0.
        alpha: the interval is two-sided, at 1 - alpha.

    Raises:
        ValueError: more successes than trials, or fewer than 0.

    Example:
        >>> interval = wilson_interval(8, 10, 0.05)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)
    """
    if n == 0:
        return UNDEFINED_INTERVAL
    successes = _clamp_successes(successes, n)
    rate, squared = successes / n, float(scipy.special.ndtri(alpha / 2)) ** 2
    center = (rate + squared / (2 * n)) / (1 + squared / n)
    half = math.sqrt(squared * (rate * (1 - rate) + squared / (4 * n)) / n) / (1 + squared / n)
    # At the ends the formula gives 0 and 1, except for rounding.
    low, high = max(0.0, center - half), min(1.0, center + half)
    return Interval(low if successes > 0 else 0.0, high if successes < n else 1.0)


def clopper_pearson_interval(successes: float, n: float, alpha: float) -> Interval:
    """Compute the Clopper-Pearson interval (1934) of a proportion, which never covers less than 1 - alpha.

    The arguments are those of `wilson_interval`.
    """
    if n == 0:
        return UNDEFINED_INTERVAL
    k = _clamp_successes(successes, n)
    low = float(scipy.special.betaincinv(k, n - k + 1, alpha / 2)) if k > 0 else 0.0
    high = float(scipy.special.betainccinv(k + 1, n - k, alpha / 2)) if k < n else 1.0
    return Interval(low, high)


def _clamp_successes(successes: float, n: float) -> float:
    # A mean of rates times n may exceed n by rounding.
    if not -1e-9 <= successes <= n * (1 + 1e-9):
        raise ValueError(f"{successes} successes of {n}")
    return min(max(successes, 0.0), n)
