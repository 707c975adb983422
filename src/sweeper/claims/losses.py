"""Claims about a loss: one number per run, of which less is better. n counts runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.comparison import PAIRS_OF_RUNS, ComparisonTest, Hypothesis, Metric
from sweeper.claims.protocols import extract_metric
from sweeper.claims.run_intervals import estimate_independent_run_difference, estimate_run_mean_difference
from sweeper.statistics.paired import Pairing, group_arm_runs, match_runs

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.claims.interval_estimates import IntervalEstimate
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim
    from sweeper.statistics.aliases import ArmValue, Array

LOSSES = {
    "val_loss": Metric("val_loss", "validation loss", unit="nats", observations=PAIRS_OF_RUNS),
    "gold_nll": Metric("gold_nll", "loss on gold answers", unit="nats", observations=PAIRS_OF_RUNS),
}
"""Losses that claims can be about, in nats per target token."""
_TESTS: Mapping[ComparisonTest, ComparisonTest] = {
    "superior": "lower",
    "superior-by": "lower-by",
    "no-better": "not-lower",
}


def adapt_hypothesis(claim: Claim, hypothesis: Hypothesis) -> Hypothesis:
    """Return a hypothesis about pass rates as one about the claim's loss, of which less is better."""
    observations = "runs" if claim.sd_ratio is not None else ""
    test = _TESTS.get(hypothesis.test, hypothesis.test)
    return replace(hypothesis, test=test, metric=LOSSES[claim.metric], observations=observations)


def read_losses(claim: Claim, rows: pd.DataFrame) -> dict[str, float]:
    """Read fingerprint -> loss of the finished runs; NaN where a run has none, or diverged."""
    losses = extract_metric(rows, claim.metric).where(rows["status"] == "COMPLETE")
    return {str(name): float(loss) for name, loss in zip(rows["fingerprint"], losses, strict=True)}


def find_loss_problem(claim: Claim, tables: ClaimTables) -> str:
    """Return why finished runs leave the mean loss undefined; '' where they do not."""
    rows = tables.leave_out(tables.rows)
    n_diverged = int((rows["status"] == "DIVERGED").sum())
    title = LOSSES[claim.metric].title
    if n_diverged:
        runs = (
            f"{n_diverged} run{'s' * (n_diverged != 1)} diverged and {'have' if n_diverged != 1 else 'has'} no {title}"
        )
        return f"{runs}; `estimand: trained-runs` is about the others"
    losses = read_losses(claim, rows[rows["status"] == "COMPLETE"])
    n_missing = sum(not math.isfinite(loss) for loss in losses.values())
    return f"{n_missing} of {len(losses)} finished runs have no {title}" if n_missing else ""


def estimate_loss_difference(claim: Claim, tables: ClaimTables, first: ArmValue, second: ArmValue) -> IntervalEstimate:
    """Estimate the mean loss of one arm minus that of another, over runs that are matched by seed or independent."""
    rows, axis = tables.leave_out(tables.rows), str(claim.axis)
    losses = read_losses(claim, rows)
    if claim.sd_ratio is None:
        pairing = match_runs(rows, axis, first, second, tables.axes)
        one, other, seeds, n_dropped = match_run_values(pairing, losses)
        return estimate_run_mean_difference(one, other, seeds, pairing.unmatched_runs + n_dropped)
    runs = group_arm_runs(rows, axis, first, second, tables.axes)
    sides = [[(seed, losses[name]) for seed, name in side] for side in (runs.first, runs.second)]
    return estimate_independent_run_difference(sides[0], sides[1], claim.sd_ratio, runs.unmatched_runs)


def estimate_loss_gap(claim: Claim, rows: pd.DataFrame, reference: float) -> IntervalEstimate:
    """Estimate the mean loss of one arm's runs minus a fixed number."""
    losses = np.array(list(read_losses(claim, rows).values()))
    gap = estimate_run_mean_difference(losses, np.full(len(losses), reference), [int(s) for s in rows["seed"]], 0)
    return replace(gap, n_runs=int(np.isfinite(losses).sum()))


def match_run_values(pairing: Pairing, values: Mapping[str, float]) -> tuple[Array, Array, Sequence[int], int]:
    """Return the values of matched runs that are both known, with their seeds, and the number of runs left out."""
    pairs = [(seed, values.get(a, math.nan), values.get(b, math.nan)) for seed, a, b in pairing.pairs]
    known = [pair for pair in pairs if not math.isnan(pair[1]) and not math.isnan(pair[2])]
    first = np.asarray([pair[1] for pair in known], dtype=np.float64)
    second = np.asarray([pair[2] for pair in known], dtype=np.float64)
    return first, second, [pair[0] for pair in known], 2 * (len(pairs) - len(known))
