"""Runs that collapse: which they are by the claim's rule, how many may be unseen, and what that means for an interval.

A normal model of seeds does not hold where one run in ten ends near zero, and no interval on few seeds mends it: 0 of 6
collapsed runs is compatible with a rate of 39 %. So a claim states whether it is about all runs or about those that
trained, and the report has both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy

from sweeper.claims.protocols import extract_metric
from sweeper.statistics.aliases import Array
from sweeper.statistics.independent_seeds import compute_critical_value
from sweeper.statistics.intervals import clopper_pearson_interval

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

BOUND_LEVEL = 0.95
"""Of the upper bound on the collapse rate, one-sided."""
COLLAPSE_RATES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
"""Rates for which the coverage of an interval is simulated."""
_SIMULATED_INTERVALS = 20_000
_METRIC_TITLES = {"val_loss": "validation loss", "train_loss": "training loss"}


@dataclass(frozen=True)
class CollapsedRuns:
    """The collapsed ones among the finished runs of a claim."""

    names: frozenset[str]
    """Their fingerprints."""
    n_runs: int
    """Finished runs."""
    rule: str
    """What counts as collapsed, in words."""
    unknown: frozenset[str] = frozenset()
    """Finished runs that lack the rule's metric."""

    @property
    def upper_bound(self) -> float:
        """Upper bound of the collapse rate at BOUND_LEVEL (Clopper and Pearson); NaN without a run."""
        return clopper_pearson_interval(len(self.names), self.n_runs, 2 * (1 - BOUND_LEVEL)).high


def find_collapsed_runs(claim: Claim, rows: pd.DataFrame) -> CollapsedRuns:
    """Find the runs that diverged or that the claim's rule counts as collapsed.

    Args:
        claim: the claim, with its rule.
        rows: one row per planned run.

    Returns:
        The collapsed runs among the finished ones.
    """
    rule, diverged = claim.collapse, rows["status"] == "DIVERGED"
    finished = diverged | (rows["status"] == "COMPLETE")
    is_collapsed, is_unknown, text = diverged, diverged & False, "diverged"
    if rule is not None:
        values = extract_metric(rows, rule.metric)
        is_collapsed = diverged | (finished & (values > rule.above))
        is_unknown = finished & ~diverged & values.isna()
        text = f"diverged, or a {_METRIC_TITLES[rule.metric]} above {rule.above:g}"
    names, unknown = (frozenset(rows.loc[mask, "fingerprint"].astype(str)) for mask in (is_collapsed, is_unknown))
    return CollapsedRuns(names, int(finished.sum()), text, unknown)


def find_tolerated_rate(arms: Sequence[Array], alpha: float, sd_ratio: float | None) -> float:
    """Find the largest collapse rate at which an interval of the mean over all runs keeps its level, by simulation.

    Runs of one arm collapse to a rate of 0 at random, of the worse one for the interval; collapse in both arms would
    partly cancel. Seeds are otherwise normal with the observed mean and standard deviation of the runs that trained.
    The share of the interval that the queries add is left out, so that the rate is rather too small.

    Args:
        arms: pass rates of the trained runs (seeds,) of one arm, or of two.
        alpha: the interval is at 1 - alpha.
        sd_ratio: of independent seeds, the assumed largest ratio; None for matched seeds or one arm.

    Returns:
        The largest of COLLAPSE_RATES up to which the coverage is at least 1 - alpha, or what it is without collapse if
        that is less; 0 where it is lower at the first rate, NaN with fewer than two runs of an arm.

    Example:
        >>> find_tolerated_rate([np.array([0.71, 0.73, 0.72]), np.array([0.62, 0.61, 0.63])], 0.05, 3.0)
        0.005
    """
    if min(map(len, arms)) < 2:
        return math.nan
    moments = tuple((round(float(arm.mean()), 3), round(float(arm.std(ddof=1)), 4), len(arm)) for arm in arms)
    return min(_simulate_tolerated_rate(order, alpha, sd_ratio) for order in {moments, moments[::-1]})


@lru_cache(maxsize=1024)
def _simulate_tolerated_rate(
    moments: tuple[tuple[float, float, int], ...], alpha: float, sd_ratio: float | None
) -> float:
    rng = np.random.default_rng(0)
    samples = [rng.normal(mean, sd, (_SIMULATED_INTERVALS, n)) for mean, sd, n in moments]
    draws = rng.random(samples[0].shape)
    error = math.sqrt(alpha * (1 - alpha) / _SIMULATED_INTERVALS)

    def compute_coverage(rate: float) -> float:
        own = np.where(draws < rate, 0.0, samples[0])
        truth = (1 - rate) * moments[0][0] - sum(mean for mean, _, _ in moments[1:])
        difference, half = _compute_intervals([own, *samples[1:]], alpha, sd_ratio)
        return float((np.abs(difference - truth) <= half).mean())

    # What seeds of another ratio than the assumed one do to the coverage is not the collapse's doing.
    required = min(1 - alpha, compute_coverage(0.0)) - 2 * error
    tolerated = 0.0
    for rate in COLLAPSE_RATES:
        if compute_coverage(rate) < required:
            break
        tolerated = rate
    return tolerated


def _compute_intervals(samples: Sequence[Array], alpha: float, sd_ratio: float | None) -> tuple[Array, Array]:
    """Return means (studies,), or differences of means, and the half widths of their intervals."""
    if sd_ratio is not None:
        first, second = samples
        error = sum(side.var(axis=1, ddof=1) / side.shape[1] for side in samples)
        critical = compute_critical_value(first.shape[1], second.shape[1], sd_ratio, alpha)
        return first.mean(axis=1) - second.mean(axis=1), critical * np.sqrt(error)
    values = samples[0] if len(samples) == 1 else _subtract_matched(samples)
    critical = -float(scipy.special.stdtrit(values.shape[1] - 1, alpha / 2))
    return values.mean(axis=1), critical * values.std(axis=1, ddof=1) / math.sqrt(values.shape[1])


def _subtract_matched(samples: Sequence[Array]) -> Array:
    n = min(side.shape[1] for side in samples)
    difference: Array = samples[0][:, :n] - samples[1][:, :n]
    return difference
