"""How likely the arms of a comparison are better, equal or worse: a Bayesian reading beside the interval.

An inconclusive claim says that its interval allows both; these probabilities say what is likely, given a prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeper.statistics.aliases import Array

if TYPE_CHECKING:
    from sweeper.claims.comparison import Comparison
    from sweeper.statistics.exact_shares import TwoShares

DRAWS = 40_000
"""A probability near one half then has a Monte-Carlo error of 0.25 points."""
UNIFORM_PRIOR = "uniform for the difference, and for the logarithm of each standard deviation"
SHARES_PRIOR = "Jeffreys' for each share"


@dataclass(frozen=True)
class Posterior:
    """The posterior distribution of a quantity."""

    prior: str
    """The prior, in words."""
    draw: Callable[[np.random.Generator], Array]
    """Draws of the quantity."""


@dataclass(frozen=True)
class Probabilities:
    """Probabilities of a comparison, seen from the claim's candidate where it has one."""

    better: float
    """Better by more than the margin."""
    equal: float
    """Within the margin."""
    worse: float
    prior: str


def make_normal_posterior(mean: float, terms: Sequence[tuple[float, float]], limits: tuple[float, float]) -> Posterior:
    """Return the posterior of a mean under `UNIFORM_PRIOR`, between its limits.

    The mean's error is the sum of Student's t variables, each scaled by its own standard error: the Behrens-Fisher
    distribution where two arms have variances of their own (Box and Tiao 1973, section 2.5).

    Args:
        mean: the estimate.
        terms: (variance, degrees of freedom) of independent parts of its error.
        limits: smallest and largest possible value.

    Returns:
        The posterior.

    Example:
        >>> posterior = make_normal_posterior(0.1, [(0.01, 30)], (-1.0, 1.0))
        >>> round(float((posterior.draw(np.random.default_rng(0)) > 0).mean()), 1)
        0.8
    """

    def draw(rng: np.random.Generator) -> Array:
        draws = np.full(DRAWS, mean)
        for variance, df in terms:
            draws += math.sqrt(variance) * rng.standard_t(df, DRAWS)
        return draws[(draws >= limits[0]) & (draws <= limits[1])]

    return Posterior(UNIFORM_PRIOR, draw)


def make_share_posterior(shares: TwoShares) -> Posterior:
    """Return the posterior of a difference of two shares under Jeffreys' prior of each."""

    def draw(rng: np.random.Generator) -> Array:
        first = rng.beta(shares.first + 0.5, shares.n_first - shares.first + 0.5, DRAWS)
        return np.asarray(first - rng.beta(shares.second + 0.5, shares.n_second - shares.second + 0.5, DRAWS))

    return Posterior(SHARES_PRIOR, draw)


def compute_probabilities(comparison: Comparison) -> Probabilities | None:
    """Compute the probabilities that a comparison's first side is better, equal or worse; None without a posterior.

    Where the comparison asks whether another arm is not better than the candidate, the sides are swapped.

    Args:
        comparison: a comparison of a verdict.

    Returns:
        The probabilities; they sum to 1.
    """
    if comparison.posterior is None:
        return None
    draws = comparison.posterior.draw(np.random.default_rng(0))
    if not draws.size:
        return None
    above, below = float((draws > comparison.margin).mean()), float((draws < -comparison.margin).mean())
    better, worse = (below, above) if comparison.test in ("no-better", "lower", "lower-by") else (above, below)
    return Probabilities(better, 1 - better - worse, worse, comparison.posterior.prior)
