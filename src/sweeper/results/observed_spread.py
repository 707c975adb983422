"""What the store knows about the spread of a study's runs: for planning more of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeper.results.study_evidence import build_trial_table, find_leading_judge, list_claim_axes
from sweeper.statistics.pass_matrix import COUNTED_STATUSES, build_pass_matrix

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.training import TrialRow

MIN_DEGREES_OF_FREEDOM = 4
"""Seeds beyond the first, over all arms, from which on a standard deviation is used in place of the assumed one."""
MIN_COUNTED_RUNS = 4
"""Runs from which on their collapse rate is used."""
EXTREME_RATE = 0.05
"""Arms whose mean pass rate lies closer to 0 or 1 are left out: nearly all or no runs pass, and show no spread."""


@dataclass(frozen=True)
class ObservedSpread:
    """How finished runs of the same arm differ. NaN where too few have finished."""

    seed_sd: float
    """Standard deviation over seeds of an arm's pass rate, as a rate; without what the queries' chance adds."""
    discordance: float
    """Share of queries on which two runs of one arm differ."""
    collapse_rate: float
    """Share of runs that diverged; NaN with fewer than `MIN_COUNTED_RUNS`."""
    n_runs: int


def measure_spread(axes: Sequence[str], rows: Sequence[TrialRow], outcomes: pd.DataFrame) -> ObservedSpread:
    """Measure the spread of finished runs over seeds, pooled over all arms.

    Args:
        axes: the sweep's axes.
        rows: one per planned trial.
        outcomes: one row per trial, query, judge and vote.

    Returns:
        The spread. Two runs that differ on a share d of Q queries by chance alone have a variance of d / (2 Q) each,
        which is subtracted.
    """
    counted = [row for row in rows if row.status in COUNTED_STATUSES]
    diverged = sum(row.status == "DIVERGED" for row in counted)
    collapse = diverged / len(counted) if len(counted) >= MIN_COUNTED_RUNS else math.nan
    if outcomes.empty or not counted:
        return ObservedSpread(math.nan, math.nan, collapse, len(counted))
    trials = build_trial_table(counted)
    judge = find_leading_judge(outcomes)
    matrix = build_pass_matrix(trials, outcomes[outcomes["judge"].astype(str) == judge])
    arms = list_claim_axes(axes, trials)
    differences, squares, degrees = [], 0.0, 0
    for _, group in trials[trials["status"] == "COMPLETE"].groupby(arms, dropna=False, sort=False):
        names = [name for name in group["fingerprint"] if name in matrix.columns]
        scores = matrix[names].dropna().to_numpy(dtype=float)
        if len(names) < 2 or not len(scores):
            continue
        rates = scores.mean(axis=0)
        if not EXTREME_RATE <= rates.mean() <= 1 - EXTREME_RATE:
            continue
        squares += float(((rates - rates.mean()) ** 2).sum())
        degrees += len(names) - 1
        pairs = [(i, j) for j in range(len(names)) for i in range(j)]
        differences += [float(np.abs(scores[:, i] - scores[:, j]).mean()) for i, j in pairs]
    if degrees < MIN_DEGREES_OF_FREEDOM:
        return ObservedSpread(math.nan, math.nan, collapse, len(counted))
    discordance = float(np.mean(differences))
    variance = squares / degrees - discordance / (2 * len(matrix))
    return ObservedSpread(math.sqrt(max(0.0, variance)), discordance, collapse, len(counted))
