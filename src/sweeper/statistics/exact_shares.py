"""The difference of two independent shares, such as the shares of runs that diverge in two arms, exactly.

Runs of two arms need not be paired: with six runs each, five against none give a one-sided p of .003 unpaired, and .031
by McNemar's test of the same runs in pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from sweeper.statistics.aliases import Array
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval

EXACT_RUNS = 60
"""With more in either arm the statistic's normal limits are used, which differ little from there on."""
_DIFFERENCES = np.linspace(-1, 1, 401)
"""Differences whose p-value is computed; 0 is among them, and between them p is interpolated."""
_NUISANCE_RATES = 101
_TIE = 1e-9
_MAX_ITERATIONS = 60


@dataclass(frozen=True)
class TwoShares:
    """Counts of two independent samples."""

    first: int
    """Successes of the first."""
    n_first: int
    """Its size, 1 or more."""
    second: int
    n_second: int

    @property
    def difference(self) -> float:
        """Share of the first minus that of the second."""
        return self.first / self.n_first - self.second / self.n_second

    def swap(self) -> TwoShares:
        """Return the samples in the other order."""
        return TwoShares(self.second, self.n_second, self.first, self.n_first)


def compute_share_interval(shares: TwoShares, alpha: float) -> Interval:
    """Compute the interval of a difference of two independent shares.

    Exact and unconditional (Chan and Zhang 1999, Biometrics 55): either end is where the one-sided test by the score
    statistic has a p-value of alpha / 2, whatever the common level of the shares. With more than EXACT_RUNS in a sample
    it is the normal interval of the same statistic (Miettinen and Nurminen 1985).

    Args:
        shares: the counts.
        alpha: the interval is two-sided, at 1 - alpha.

    Returns:
        Lower and upper end; NaN where a sample is empty.

    Example:
        >>> interval = compute_share_interval(TwoShares(5, 6, 0, 6), 0.05)
        >>> round(interval.low, 2), round(interval.high, 2)
        (0.23, 1.0)
    """
    if min(shares.n_first, shares.n_second) < 1:
        return UNDEFINED_INTERVAL
    compute = _find_exact_end if max(shares.n_first, shares.n_second) <= EXACT_RUNS else _find_score_end
    return Interval(compute(shares, alpha / 2), -compute(shares.swap(), alpha / 2))


def compute_share_p_value(shares: TwoShares) -> float:
    """Compute the exact one-sided p-value of the first share being no larger than the second.

    The test by the score statistic, at the least favorable common share, is Barnard's (1947).

    Args:
        shares: the counts.

    Returns:
        The p-value.

    Example:
        >>> round(compute_share_p_value(TwoShares(5, 6, 0, 6)), 4)
        0.0032
    """
    return float(_compute_p_values(shares, np.zeros(1))[0])


@lru_cache(maxsize=1024)
def _compute_p_value_curve(shares: TwoShares) -> Array:
    return _compute_p_values(shares, _DIFFERENCES)


def _find_exact_end(shares: TwoShares, alpha: float) -> float:
    """Return the largest difference below which all are rejected in favor of a larger one."""
    p_values = _compute_p_value_curve(shares)
    accepted = np.flatnonzero(p_values > alpha)
    if not accepted.size:
        return 1.0
    if (place := int(accepted[0])) == 0:
        return -1.0
    below, above = math.log(max(p_values[place - 1], 1e-300)), math.log(p_values[place])
    share = (math.log(alpha) - below) / (above - below)
    # Less than the first accepted difference: one that is rejected lies outside of the interval.
    return float(_DIFFERENCES[place - 1] + share * (_DIFFERENCES[place] - _DIFFERENCES[place - 1]))


def _compute_p_values(shares: TwoShares, differences: Array) -> Array:
    """Compute the largest probability of a statistic as large as the observed one, at each true difference."""
    first, second = np.arange(shares.n_first + 1.0)[:, None], np.arange(shares.n_second + 1.0)[None, :]
    p_values = np.empty(len(differences))
    for k, difference in enumerate(differences):
        statistics = _compute_score_statistics(first, second, shares.n_first, shares.n_second, float(difference))
        is_extreme = statistics >= statistics[shares.first, shares.second] - _TIE
        rates = np.linspace(max(0.0, -difference), min(1.0, 1 - difference), _NUISANCE_RATES)
        of_first = _compute_binomial_masses(shares.n_first, rates + difference)
        of_second = _compute_binomial_masses(shares.n_second, rates)
        p_values[k] = ((of_first @ is_extreme) * of_second).sum(axis=1).max()
    return np.minimum(p_values, 1.0)


def _compute_binomial_masses(n: int, rates: Array) -> Array:
    """Return the probability of each count (rates, n + 1)."""
    counts = np.arange(n + 1)
    rates = np.clip(rates, 0.0, 1.0)[:, None]
    masses: Array = scipy.special.binom(n, counts) * rates**counts * (1 - rates) ** (n - counts)
    return masses


def _compute_score_statistics(first: Array, second: Array, n_first: int, n_second: int, difference: float) -> Array:
    """Compute the score statistic of a difference, with the shares' likeliest values that have it.

    Farrington and Manning (1990): the root of a cubic, in closed form.
    """
    ratio = n_second / n_first
    shares = first / n_first, second / n_second
    a = 1 + ratio
    b = -(1 + ratio + shares[0] + ratio * shares[1] + difference * (ratio + 2))
    c = difference**2 + difference * (2 * shares[0] + ratio + 1) + shares[0] + ratio * shares[1]
    d = -shares[0] * difference * (1 + difference)
    v = (b / (3 * a)) ** 3 - b * c / (6 * a**2) + d / (2 * a)
    size = np.sqrt(np.maximum(0.0, (b / (3 * a)) ** 2 - c / (3 * a)))
    u = np.where(v > 0, size, -size)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.where(u == 0, 0.0, np.clip(v / u**3, -1, 1))
    likely_first = 2 * u * np.cos((math.pi + np.arccos(cosine)) / 3) - b / (3 * a)
    likely_first = np.clip(likely_first, max(0.0, difference), min(1.0, 1 + difference))
    likely_second = np.clip(likely_first - difference, 0.0, 1.0)
    variance = likely_first * (1 - likely_first) / n_first + likely_second * (1 - likely_second) / n_second
    excess = shares[0] - shares[1] - difference
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic: Array = np.where(
            np.abs(excess) < _TIE, 0.0, excess / np.sqrt(np.where(variance < 1e-15, 0.0, variance))
        )
    return statistic


def _find_score_end(shares: TwoShares, alpha: float) -> float:
    """Return the difference whose score statistic is the normal quantile."""
    critical = -float(scipy.special.ndtri(alpha))
    first, second = np.array(shares.first), np.array(shares.second)
    low, high = -1.0, shares.difference
    for _ in range(_MAX_ITERATIONS):
        middle = (low + high) / 2
        statistic = _compute_score_statistics(first, second, shares.n_first, shares.n_second, middle)
        low, high = (middle, high) if float(statistic) > critical else (low, middle)
    return low
