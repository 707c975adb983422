"""Intervals for one proportion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from sweeper.statistics.aliases import Array


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

    Returns:
        Lower and upper end.

    Raises:
        ValueError: more successes than trials, or fewer than 0.

    Example:
        >>> interval = wilson_interval(8, 10, 0.05)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)
    """
    if n == 0:
        return UNDEFINED_INTERVAL
    low, high = wilson_intervals(np.array(_clamp_successes(successes, n) / n), np.array(n), alpha)
    return Interval(float(low), float(high))


def wilson_intervals(rates: Array, sizes: Array, alpha: float) -> tuple[Array, Array]:
    """Compute the ends of `wilson_interval` for many rates at once; NaN for a rate that is NaN or a size of 0."""
    squared = float(scipy.special.ndtri(alpha / 2)) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        center = (rates + squared / (2 * sizes)) / (1 + squared / sizes)
        half = np.sqrt(squared * (rates * (1 - rates) + squared / (4 * sizes)) / sizes) / (1 + squared / sizes)
    # At 0 and 1 the formula gives these ends, except for rounding.
    low = np.where(rates <= 0, 0.0, np.maximum(0.0, center - half))
    high = np.where(rates >= 1, 1.0, np.minimum(1.0, center + half))
    undefined = np.isnan(rates) | (sizes == 0)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def clopper_pearson_interval(successes: float, n: float, alpha: float) -> Interval:
    """Compute the Clopper-Pearson interval (1934) of a proportion, which never covers less than 1 - alpha.

    Args:
        successes: successes, from 0 to `n`.
        n: trials; the interval is NaN for 0.
        alpha: the interval is two-sided, at 1 - alpha.

    Returns:
        Lower and upper end.

    Example:
        >>> interval = clopper_pearson_interval(8, 10, 0.05)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.444, 0.975)
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
