"""Minimum detectable margins of claims about one arm, by simulated studies, and of divergence, exactly."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from sweeper.claims.interval_estimates import IntervalEstimate
from sweeper.claims.kinds.base import require_direction
from sweeper.statistics.aliases import Array
from sweeper.statistics.exact_shares import TwoShares, compute_share_interval
from sweeper.statistics.paired import MIN_DISCORDANT_QUERIES, VarianceEstimate

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

TARGET_POWER = 0.8
TRUE_RATE = 0.5
"""True rate of simulated studies whose claim names none: where chance spreads widest."""
SIMULATED_STUDIES = 200
"""Simulated studies; the quantile at TARGET_POWER then has a standard error of about 3 % of itself."""
_MAX_CELLS = 4_000_000


@dataclass(frozen=True)
class SingleArmModel:
    """How a claim about one arm estimates its quantity, for many simulated studies at once and for one."""

    rate: float
    """True pass rate of the simulated runs, where the claimed equality holds exactly."""
    limits: tuple[float, float]
    """Smallest and largest possible value of the quantity."""
    split: Callable[[Array], Sequence[Array]]
    """Passes (..., queries, seeds) -> the independent samples of queries in them."""
    estimate: Callable[[Sequence[Array]], tuple[Array, VarianceEstimate]]
    """Samples -> the quantity of each study, and its variance."""
    estimate_reported: Callable[[pd.DataFrame, Sequence[tuple[int, str]]], IntervalEstimate]
    """Pass matrix and runs (seed, fingerprint) of one study -> the estimate that its report would give."""


def estimate_detectable_margin(
    claim: Claim,
    model: SingleArmModel,
    *,
    n_queries: int,
    n_seeds: int,
    rng: np.random.Generator,
    studies: int = SIMULATED_STUDIES,
) -> float:
    """Estimate the smallest margin that a study establishes with a power of 0.8.

    Two runs differ on a share `assumed_discordance` of the queries, as far as their rate allows; a run's rate has the
    standard deviation `assumed_seed_sd` over seeds.

    Returns:
        The margin as a rate; NaN where the design establishes none.
    """
    block = max(1, _MAX_CELLS // (n_queries * n_seeds))
    margins = []
    for start in range(0, studies, block):
        shape = (min(block, studies - start), n_queries, n_seeds)
        passed = simulate_passes(model.rate, shape, claim.assumed_discordance, claim.assumed_seed_sd, rng)
        margins.append(compute_established_margins(claim, model, passed))
    established = np.concatenate(margins)
    margin = float(np.quantile(established, TARGET_POWER)) if not np.isnan(established).any() else math.nan
    return margin if margin < 1 else math.nan


def compute_established_margins(claim: Claim, model: SingleArmModel, passed: Array) -> Array:
    """Return the margin that each study of (studies, queries, seeds) establishes: how far its interval reaches."""
    samples = model.split(passed)
    mean, variance = model.estimate(samples)
    half = variance.compute_half_width(claim.alpha)
    low, high = np.maximum(model.limits[0], mean - half), np.minimum(model.limits[1], mean + half)
    # Where nearly all or nearly none pass the normal theory is too narrow: those studies are computed one by one, as in
    # a report.
    ever = np.stack([(sample > 0).any(axis=2).sum(axis=1) for sample in samples])
    failed = np.stack([(sample < 1).any(axis=2).sum(axis=1) for sample in samples])
    for study in np.flatnonzero((np.minimum(ever, failed) < MIN_DISCORDANT_QUERIES).any(axis=0)):
        interval = estimate_reported_study(model, passed[study]).compute_interval(claim.alpha)
        low[study], high[study] = interval.low, interval.high
    match require_direction(claim):
        case "at-least":
            return np.asarray(-low)
        case "at-most":
            return np.asarray(high)
        case "about":
            return np.maximum(-low, high)


def estimate_reported_study(model: SingleArmModel, passed: Array) -> IntervalEstimate:
    """Return the estimate that the report of one study, passes (queries, seeds), would give."""
    import pandas as pd

    runs = [(seed, str(seed)) for seed in range(passed.shape[1])]
    return model.estimate_reported(pd.DataFrame(passed, columns=[name for _, name in runs]), runs)


def compute_detectable_divergence(alpha: float, n_runs: int) -> float:
    """Compute the smallest share of diverging runs that is established to exceed none, with a power of 0.8.

    Exact.

    Args:
        alpha: two-sided level.
        n_runs: runs of each arm.

    Returns:
        The share; NaN where even an arm whose runs all diverge is not enough.
    """
    counts = range(1, n_runs + 1)
    place = bisect.bisect_left(
        counts, True, key=lambda count: compute_share_interval(TwoShares(count, n_runs, 0, n_runs), alpha).low > 0
    )
    if place == n_runs:
        return math.nan
    least = counts[place]
    # P(at least `least` of n) at rate p is the distribution function of Beta(least, n - least + 1) at p.
    return float(scipy.special.betaincinv(least, n_runs - least + 1, TARGET_POWER))


def simulate_passes(
    rate: float | Array, shape: tuple[int, int, int], discordance: float, seed_sd: float, rng: np.random.Generator
) -> Array:
    """Simulate passes (studies, queries, runs), 0 or 1.

    On a share of the queries all runs draw the same chance, so that two runs of one rate differ on `discordance` of
    them.

    Args:
        rate: true pass rate of all runs, or of each (runs,).
        shape: studies, queries and runs.
        discordance: share of queries on which two runs differ, as far as their rate allows it.
        seed_sd: standard deviation of a run's rate over seeds.
    """
    studies, queries, runs = shape
    middle = float(np.mean(rate))
    share_drawn_apart = min(1.0, discordance / max(2 * middle * (1 - middle), 1e-9))
    is_shared = rng.random((studies, queries, 1)) >= share_drawn_apart
    draws = np.where(is_shared, rng.random((studies, queries, 1)), rng.random(shape))
    rates = np.clip(rate + rng.normal(0, seed_sd, (studies, 1, runs)), 0, 1)
    return (draws < rates).astype(float)
