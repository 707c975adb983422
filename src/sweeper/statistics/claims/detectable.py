"""Before the run: the smallest margin or difference that claims about one arm, or about divergence, could show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sweeper.statistics.claims import evidence as ev
from sweeper.statistics.intervals import Interval
from sweeper.statistics.paired import SPARSE, Array, two_way_spread

if TYPE_CHECKING:
    from sweeper.spec import Claim

POWER = 0.8
STUDIES = 200
"""Drawn studies: the quantile at POWER then has a standard error of some 3 % of itself."""
_CELLS = 4_000_000
EVEN = 0.5
"""Rate of the arm of `generalises`: where chance spreads widest."""


def detectable_margin(
    claim: Claim, *, seen: int, unseen: int, n_seeds: int, rng: np.random.Generator, studies: int = STUDIES
) -> float:
    """Of `reaches` and `generalises`: the smallest margin that four of five studies show where the claimed equality
    holds exactly. `seen`, `unseen`: queries about seen tools, and about unseen ones and categories. NaN where the
    design shows none.

    Two runs differ on a share `assumed_discordance` of the queries, as far as their rate allows; a run's rate has the
    standard deviation `assumed_seed_sd` over seeds.
    """
    if claim.kind == "generalises" and min(seen, unseen) == 0:
        return math.nan
    rate = EVEN if claim.reference is None else float(claim.reference)
    block = max(1, _CELLS // ((seen + unseen) * n_seeds))
    needed = []
    for start in range(0, studies, block):
        shape = (min(block, studies - start), seen + unseen, n_seeds)
        passed = _passes(rate, shape, claim.assumed_discordance, claim.assumed_seed_sd, rng)
        needed.append(_needed(claim, passed, seen, rate))
    found = np.concatenate(needed)
    margin = float(np.quantile(found, POWER)) if not np.isnan(found).any() else math.nan
    return margin if margin < 1 else math.nan


def _needed(claim: Claim, passed: Array, seen: int, rate: float) -> Array:
    """The margin that each study (studies, queries, seeds) shows: how far its interval reaches the wrong way."""
    if claim.kind == "reaches":
        samples = [passed]
        mean, spread = passed.mean(axis=(1, 2)) - rate, two_way_spread(passed)
        least, most = -rate, 1 - rate
    else:
        samples = [passed[:, seen:], passed[:, :seen]]
        mean = samples[0].mean(axis=(1, 2)) - samples[1].mean(axis=(1, 2))
        spread = ev.two_samples_spread(*samples)
        least, most = -1.0, 1.0
    half = spread.half_width(claim.alpha)
    low, high = np.maximum(least, mean - half), np.minimum(most, mean + half)
    # Where nearly all or nearly none pass the normal theory sees too little: those as the report does, one by one.
    ever = np.stack([(sample > 0).any(axis=2).sum(axis=1) for sample in samples])
    failed = np.stack([(sample < 1).any(axis=2).sum(axis=1) for sample in samples])
    for study in np.flatnonzero((np.minimum(ever, failed) < SPARSE).any(axis=0)):
        reported = _as_reported(claim, passed[study], seen, rate)
        low[study], high[study] = reported.low, reported.high
    ends = {"at-least": -low, "at-most": high}
    needed: Array = ends.get(str(claim.direction), np.maximum(-low, high))
    return needed


def _as_reported(claim: Claim, passed: Array, seen: int, rate: float) -> Interval:
    import pandas as pd

    runs = [(seed, str(seed)) for seed in range(passed.shape[1])]
    matrix, unseen = pd.DataFrame(passed, columns=[name for _, name in runs]), np.arange(len(passed)) >= seen
    if claim.kind == "reaches":
        return ev.rate_against(matrix, runs, rate).interval(claim.alpha)
    return ev.two_samples(matrix, runs, unseen, ~unseen).interval(claim.alpha)


def detectable_divergence(alpha: float, n_pairs: int) -> float:
    """Of `stabilises`: the smallest share of diverging runs that four of five studies show to be above none at all,
    over that many pairs of runs; exact. NaN where all of one side's runs would not do."""
    from scipy import special

    def shown(diverged: int) -> bool:
        first = np.arange(n_pairs) < diverged
        return ev.share_difference(first.astype(float), np.zeros(n_pairs), range(n_pairs), 0).interval(alpha).low > 0

    least = next((count for count in range(1, n_pairs + 1) if shown(count)), None)
    if least is None:
        return math.nan
    # P(at least `least` of n) at rate p is the Beta(least, n - least + 1) distribution's at p.
    return float(special.betaincinv(least, n_pairs - least + 1, POWER))


def _passes(
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
