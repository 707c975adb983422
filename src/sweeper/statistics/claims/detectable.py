"""Before the run: the smallest margin or difference that claims about one arm, or about divergence, could show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweeper.statistics.claims import evidence as ev

if TYPE_CHECKING:
    from sweeper.spec import Claim

POWER = 0.8
STUDIES = 200
"""Drawn studies: the quantile at POWER then has a standard error of some 3 % of itself."""
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
    import pandas as pd

    rate = EVEN if claim.reference is None else float(claim.reference)
    unseen_rows = np.arange(seen + unseen) >= seen
    runs = [(seed, str(seed)) for seed in range(n_seeds)]
    columns = pd.Index([name for _, name in runs])
    needed = []
    for _ in range(studies):
        passed = _passes(rate, seen + unseen, n_seeds, claim.assumed_discordance, claim.assumed_seed_sd, rng)
        matrix = pd.DataFrame(passed, columns=columns)
        if claim.kind == "reaches":
            found = ev.rate_against(matrix, runs, rate)
        else:
            found = ev.two_samples(matrix, runs, unseen_rows, ~unseen_rows)
        interval = found.interval(claim.alpha)
        ends = {"at-least": -interval.low, "at-most": interval.high}
        needed.append(ends.get(str(claim.direction), max(-interval.low, interval.high)))
    margin = float(np.quantile(needed, POWER)) if not np.isnan(needed).any() else math.nan
    return margin if margin < 1 else math.nan


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
    rate: float, queries: int, seeds: int, discordance: float, seed_sd: float, rng: np.random.Generator
) -> NDArray[Any]:
    """(queries, seeds), 0 or 1: on a share of the queries all runs draw alike, so that two differ on `discordance`."""
    apart = min(1.0, discordance / max(2 * rate * (1 - rate), 1e-9))
    alike = rng.random((queries, 1)) >= apart
    draws = np.where(alike, rng.random((queries, 1)), rng.random((queries, seeds)))
    rates = np.clip(rate + rng.normal(0, seed_sd, seeds), 0, 1)
    return (draws < rates).astype(float)
