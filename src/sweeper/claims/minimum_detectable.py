"""Before the run: the smallest margin or difference that claims about one arm, or about divergence, could show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims import interval_estimates as ev
from sweeper.statistics.intervals import Interval
from sweeper.statistics.paired import MIN_DISCORDANT_QUERIES, Array, estimate_two_way_variance

if TYPE_CHECKING:
    from sweeper.config import Claim

TARGET_POWER = 0.8
SIMULATED_STUDIES = 200
"""Drawn studies: the quantile at POWER then has a standard error of some 3 % of itself."""
_MAX_CELLS = 4_000_000
EVEN_RATE = 0.5
"""Rate of the arm of `generalises`: where chance spreads widest."""


def estimate_detectable_margin(
    claim: Claim,
    *,
    n_seen_queries: int,
    n_unseen_queries: int,
    n_seeds: int,
    rng: np.random.Generator,
    studies: int = SIMULATED_STUDIES,
) -> float:
    """Of `reaches` and `generalises`: the smallest margin that four of five studies show where the claimed equality
    holds exactly. `seen`, `unseen`: queries about seen tools, and about unseen ones and categories. NaN where the
    design shows none.

    Two runs differ on a share `assumed_discordance` of the queries, as far as their rate allows; a run's rate has the
    standard deviation `assumed_seed_sd` over seeds.
    """
    if claim.kind == "generalises" and min(n_seen_queries, n_unseen_queries) == 0:
        return math.nan
    rate = EVEN_RATE if claim.reference is None else float(claim.reference)
    block = max(1, _MAX_CELLS // ((n_seen_queries + n_unseen_queries) * n_seeds))
    needed = []
    for start in range(0, studies, block):
        shape = (min(block, studies - start), n_seen_queries + n_unseen_queries, n_seeds)
        passed = _simulate_passes(rate, shape, claim.assumed_discordance, claim.assumed_seed_sd, rng)
        needed.append(_compute_established_margin(claim, passed, n_seen_queries, rate))
    found = np.concatenate(needed)
    margin = float(np.quantile(found, TARGET_POWER)) if not np.isnan(found).any() else math.nan
    return margin if margin < 1 else math.nan


def _compute_established_margin(claim: Claim, passed: Array, n_seen_queries: int, rate: float) -> Array:
    """The margin that each study (studies, queries, seeds) shows: how far its interval reaches the wrong way."""
    if claim.kind == "reaches":
        samples = [passed]
        mean, spread = passed.mean(axis=(1, 2)) - rate, estimate_two_way_variance(passed)
        least, most = -rate, 1 - rate
    else:
        samples = [passed[:, n_seen_queries:], passed[:, :n_seen_queries]]
        mean = samples[0].mean(axis=(1, 2)) - samples[1].mean(axis=(1, 2))
        spread = ev.estimate_two_sample_variance(*samples)
        least, most = -1.0, 1.0
    half = spread.compute_half_width(claim.alpha)
    low, high = np.maximum(least, mean - half), np.minimum(most, mean + half)
    # Where nearly all or nearly none pass the normal theory sees too little: those as the report does, one by one.
    ever = np.stack([(sample > 0).any(axis=2).sum(axis=1) for sample in samples])
    failed = np.stack([(sample < 1).any(axis=2).sum(axis=1) for sample in samples])
    for study in np.flatnonzero((np.minimum(ever, failed) < MIN_DISCORDANT_QUERIES).any(axis=0)):
        reported = _compute_reported_interval(claim, passed[study], n_seen_queries, rate)
        low[study], high[study] = reported.low, reported.high
    ends = {"at-least": -low, "at-most": high}
    needed: Array = ends.get(str(claim.direction), np.maximum(-low, high))
    return needed


def _compute_reported_interval(claim: Claim, passed: Array, n_seen_queries: int, rate: float) -> Interval:
    import pandas as pd

    runs = [(seed, str(seed)) for seed in range(passed.shape[1])]
    matrix, unseen = pd.DataFrame(passed, columns=[name for _, name in runs]), np.arange(len(passed)) >= n_seen_queries
    if claim.kind == "reaches":
        return ev.estimate_reference_gap(matrix, runs, rate).compute_interval(claim.alpha)
    return ev.estimate_two_sample_difference(matrix, runs, unseen, ~unseen).compute_interval(claim.alpha)


def compute_detectable_divergence(alpha: float, n_pairs: int) -> float:
    """Of `stabilises`: the smallest share of diverging runs that four of five studies show to be above none at all,
    over that many pairs of runs; exact. NaN where all of one side's runs would not do."""
    from scipy import special

    def shown(diverged: int) -> bool:
        first = np.arange(n_pairs) < diverged
        return (
            ev.estimate_share_difference(first.astype(float), np.zeros(n_pairs), range(n_pairs), 0)
            .compute_interval(alpha)
            .low
            > 0
        )

    least = next((count for count in range(1, n_pairs + 1) if shown(count)), None)
    if least is None:
        return math.nan
    # P(at least `least` of n) at rate p is the Beta(least, n - least + 1) distribution's at p.
    return float(special.betaincinv(least, n_pairs - least + 1, TARGET_POWER))


def _simulate_passes(
    rate: float, shape: tuple[int, int, int], discordance: float, seed_sd: float, rng: np.random.Generator
) -> Array:
    """(studies, queries, seeds), 0 or 1: on a share of the queries all runs draw alike, so that two differ on
    `discordance`."""
    studies, queries, seeds = shape
    apart = min(1.0, discordance / max(2 * rate * (1 - rate), 1e-9))
    alike = rng.random((studies, queries, 1)) >= apart
    draws = np.where(alike, rng.random((studies, queries, 1)), rng.random(shape))
    rates = np.clip(rate + rng.normal(0, seed_sd, (studies, 1, seeds)), 0, 1)
    return (draws < rates).astype(float)
