"""The difference of two arms whose seeds share nothing, such as models of different sizes.

Pairing such arms by seed costs half of the degrees of freedom: with two seeds each the critical value is 12.7. Here
each arm has its own variance over seeds, and the critical value is right for every ratio of the two standard deviations
up to a limit that is assumed and printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from sweeper.statistics.aliases import Array
from sweeper.statistics.paired import Variance, VarianceEstimate, combine_crossed_variances, marginal_variances

DEFAULT_SD_RATIO = 3.0
"""Largest ratio of the two arms' standard deviations over seeds that intervals allow for by default."""
_QUADRATURE_NODES = 61
_LOG_TAIL = 18.0
"""Logarithm of the probability that the integration leaves out on either side, about."""
_RATIO_NODES = 9
_ROUNDING = 1e-24
"""Variances of rates below this are rounding errors of 0."""


@dataclass(frozen=True)
class IndependentVariance(VarianceEstimate):
    """The variance of a difference: first what both arms' seeds add, then what the queries add."""

    n_seeds: tuple[float, float] = (0, 0)
    """Seeds of each arm."""
    sd_ratio: float = DEFAULT_SD_RATIO
    """Largest ratio of their standard deviations that the interval allows for."""
    observed_ratio: Variance = math.nan
    """The larger observed standard deviation over the smaller one."""
    arm_variances: tuple[Variance, Variance] = (math.nan, math.nan)
    """What each arm's seeds add; the first term is their sum."""

    def split_terms(self) -> tuple[tuple[Variance, float], ...]:
        """Return each arm's term with its own degrees of freedom, then the queries'."""
        dfs = (n - 1 for n in self.n_seeds)
        return (*zip(self.arm_variances, dfs, strict=True), *self.terms[1:])

    def compute_half_width(self, alpha: float) -> Array:
        """Compute half the width of the interval at 1 - alpha, shape () for one difference; 0 without terms.

        It is the root of c^2 times the seeds' variance plus t^2 times the queries'.
        """
        if not self.terms:
            return np.asarray(0.0)
        (seeds, _), (queries, df) = self.terms
        # One seed shows no spread: its variance is 0, and the interval holds for the runs at hand.
        critical = 0.0 if min(self.n_seeds) < 2 else compute_critical_value(*self.n_seeds, self.sd_ratio, alpha)
        half: Array = np.sqrt(critical**2 * seeds + float(scipy.special.stdtrit(df, alpha / 2)) ** 2 * queries)
        return half


@lru_cache(maxsize=4096)
def compute_critical_value(n_first: float, n_second: float, sd_ratio: float, alpha: float) -> float:
    """Compute the critical value of a difference of two means over the root of their estimated variances.

    The observations of each mean are normal with a standard deviation of its own. For given standard deviations the
    statistic is, conditional on the share B of the first sample in the sum of both chi-square variables, a scaled
    Student's t; B has a beta distribution, over which that t is integrated numerically. The value returned is the
    largest over all ratios of the standard deviations from 1 / `sd_ratio` to `sd_ratio`: 1 gives the pooled t for equal
    samples, infinity the t of the smaller sample.

    Args:
        n_first: observations of the first mean, 2 or more.
        n_second: observations of the second mean, 2 or more.
        sd_ratio: largest ratio of the standard deviations, 1 or more.
        alpha: two-sided level.

    Returns:
        The value that the statistic exceeds in absolute size with probability alpha at most.

    Example:
        >>> round(compute_critical_value(2, 2, 3.0, 0.05), 2)
        5.42
    """
    first_df, second_df = n_first - 1, n_second - 1
    if math.isinf(sd_ratio):
        return -float(scipy.special.stdtrit(min(first_df, second_df), alpha / 2))
    # The trapezoidal rule in log(B / (1 - B)), where all factors are smooth and decay exponentially.
    logit = np.linspace(-1, 1, _QUADRATURE_NODES) * (2 * _LOG_TAIL / min(first_df, second_df))
    share = scipy.special.expit(logit)
    # Normalized as logarithms: with a thousand seeds the weights themselves are 0.
    weights = scipy.special.softmax(
        first_df / 2 * scipy.special.log_expit(logit) + second_df / 2 * scipy.special.log_expit(-logit)
    )
    squares = np.exp(np.linspace(-2, 2, _RATIO_NODES) * math.log(sd_ratio))[:, None]
    of_first = squares / n_first / (squares / n_first + 1 / n_second)
    df = first_df + second_df
    scale = np.sqrt(df * (of_first * share / first_df + (1 - of_first) * (1 - share) / second_df))

    def compute_excess(value: float) -> float:
        return float((2 * scipy.special.stdtr(df, -value * scale) @ weights).max()) - alpha

    upper = -float(scipy.special.stdtrit(min(first_df, second_df), alpha / 2))
    lower = -float(scipy.special.ndtri(alpha / 2))
    if compute_excess(0.0) <= 0:  # a level of 1, but for rounding
        return 0.0
    return float(scipy.optimize.brentq(compute_excess, 0.0, 1.1 * upper + 1e-3, xtol=1e-6 * lower))


def estimate_independent_variance(
    first: Array | NDArray[np.int8], second: Array | NDArray[np.int8], sd_ratio: float = DEFAULT_SD_RATIO
) -> IndependentVariance:
    """Estimate the variance of a difference of two means over the same queries and unrelated seeds.

    Args:
        first: scores (..., queries, seeds) of the first arm, with two seeds or more.
        second: scores (..., queries, seeds) of the second arm.
        sd_ratio: largest ratio of the arms' standard deviations over seeds to allow for.

    Returns:
        The variance; without terms for a single query.

    Example:
        >>> first, second = np.eye(4)[:, :2], np.eye(4)[:, 2:]
        >>> estimate_independent_variance(first, second).n_seeds
        (2, 2)
    """
    n_queries, n_seeds = first.shape[-2], (first.shape[-1], second.shape[-1])
    if n_queries < 2:
        return IndependentVariance(n_seeds=n_seeds, sd_ratio=sd_ratio)
    seeds, interactions = zip(*(marginal_variances(values)[1:] for values in (first, second)), strict=True)
    by_query = (first.mean(axis=-1) - second.mean(axis=-1)).var(axis=-1, ddof=1) / n_queries
    both = interactions[0] + interactions[1]
    combined = combine_crossed_variances([(by_query, both, n_queries - 1)], seeds[0] + seeds[1], 1)
    return IndependentVariance(
        combined.terms,
        n_seeds=n_seeds,
        sd_ratio=sd_ratio,
        observed_ratio=_compute_ratio(seeds, n_seeds),
        arm_variances=(seeds[0], seeds[1]),
    )


def _compute_ratio(variances: Sequence[Variance], n_seeds: Sequence[int]) -> Variance:
    """Compute the larger standard deviation over the smaller one, from the variances of the means; NaN for 0 by 0."""
    first, second = (
        np.sqrt(np.where(variance < _ROUNDING, 0.0, variance) * n)
        for variance, n in zip(variances, n_seeds, strict=True)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = np.maximum(first, second) / np.minimum(first, second)
    return ratio


def contradicts_ratio(observed: float, n_seeds: tuple[float, float], sd_ratio: float, alpha: float = 0.05) -> bool:
    """Return whether an observed ratio of standard deviations is too large for the assumed one, by an F test.

    Args:
        observed: the larger observed standard deviation over the smaller one.
        n_seeds: seeds of both arms; their order does not matter.
        sd_ratio: the assumed largest ratio.
        alpha: level of the test.

    Returns:
        Whether the ratio is rejected; False where nothing is observed.

    Example:
        >>> contradicts_ratio(40.0, (4, 4), 3.0)
        True
    """
    if math.isnan(observed) or math.isinf(sd_ratio):
        return False
    dfs = [n - 1 for n in n_seeds]
    # Either arm may be the more variable one; halving alpha pays for that choice.
    p = max(float(scipy.special.fdtrc(a, b, (observed / sd_ratio) ** 2)) for a, b in (dfs, dfs[::-1]))
    return p < alpha / 2
