"""`stabilises`: fewer runs diverge at the candidate than at each other value.

How much the finished runs spread over seeds stands beside it and decides nothing: a diverged run has no value that
could spread, and an arm without finished runs none at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, assert_never

import numpy as np

from sweeper.claims.comparison import PAIRS_OF_RUNS, Comparison, Hypothesis, Metric, make_comparison
from sweeper.claims.kinds.base import ARM_FIELDS, LOOK_FIELDS, ClaimKind, ComparisonSet
from sweeper.claims.minimum_detectable import compute_detectable_divergence
from sweeper.claims.planned_power import ClaimPower, search_required_seeds
from sweeper.claims.protocols import extract_metric
from sweeper.claims.run_intervals import estimate_share_difference, estimate_spread_difference
from sweeper.claims.tables import group_values_by_cell, list_unplanned_arms
from sweeper.statistics.paired import equals_value, group_arm_runs
from sweeper.statistics.pass_matrix import COUNTED_STATUSES

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim
    from sweeper.statistics.aliases import ArmValue

SPIKE_WINDOW = 10
"""Number of preceding logged steps whose median loss a spike is compared with."""
SPIKE_RATIO = 1.5
"""A logged loss above this multiple of that median is a spike."""
DIVERGENCE_RATE = Metric("divergence_rate", "share of diverged runs", observations="runs")
LOSS_SPIKES = Metric("loss_spikes", "share of logged steps with a loss spike", observations=PAIRS_OF_RUNS)
GRADIENT_TAIL = Metric(
    "gradient_tail", "share of logged steps with a gradient norm above the clip", observations=PAIRS_OF_RUNS
)
SPREADS = {
    "pass_rate": Metric("pass_rate_spread", "spread of the pass rate over finished runs", observations="runs"),
    "val_loss": Metric(
        "val_loss_spread", "spread of the validation loss over finished runs", unit="nats", observations="runs"
    ),
}
"""The claim's `spread_of` -> the metric."""


class Stabilises(ClaimKind):
    """The candidate against each other value, by divergence; the spread over seeds is supplementary."""

    metrics = ("divergence_rate",)
    required_fields = ARM_FIELDS
    optional_fields = LOOK_FIELDS | frozenset({"against", "spread_of"})
    rests_on_pass_rate = False

    def needs_evaluation(self, claim: Claim) -> bool:
        """Return whether the spread is that of the pass rate."""
        return claim.spread_of == "pass_rate"

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare divergence with each other value; spread, loss spikes and gradient norms are supplementary."""
        axis, candidate, rows = str(claim.axis), claim.candidate, tables.rows
        values = dict.fromkeys(None if value != value else value for value in rows[axis])
        others = claim.against or [value for value in values if value != candidate]
        if unplanned := list_unplanned_arms(rows, axis, [candidate, *others]):
            return ComparisonSet((), f"{', '.join(unplanned)} is not among the planned trials", rows)
        if not others:
            return ComparisonSet((), "no other value is planned", rows)
        masks = [equals_value(rows[axis], arm).to_numpy(dtype=bool) for arm in (candidate, *others)]
        rows = rows[np.logical_or.reduce(masks)]
        comparisons = [
            comparison
            for other in others
            for comparison in (
                compare_divergence(claim, tables, rows, other, len(others)),
                compare_spread(claim, tables, rows, other),
            )
        ]
        note = " Loss spikes and gradient norms: no histories given."
        if tables.histories is not None:
            note = ""
            for other in others:
                comparisons += compare_step_shares(claim, tables, rows, tables.histories, other)
        return ComparisonSet(tuple(comparisons), "", rows, note, needs_outcomes=False)

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Compute the smallest share of diverging runs that the design establishes."""
        n_runs = design.count_run_pairs(claim.axis)
        return search_required_seeds(
            claim,
            design.n_seeds,
            lambda seeds: compute_detectable_divergence(claim.alpha, n_runs * seeds // max(1, design.n_seeds)),
            target="in the share of diverging runs",
        )


def compare_divergence(
    claim: Claim, tables: ClaimTables, rows: pd.DataFrame, other: ArmValue, n_comparisons: int
) -> Comparison:
    """Compare the shares of diverged runs of another value and the candidate."""
    runs = group_arm_runs(rows, str(claim.axis), other, claim.candidate, tables.axes)
    is_diverged = (rows["status"] == "DIVERGED").astype(float)
    by_run = dict(zip(rows["fingerprint"], is_diverged.where(rows["status"].isin(COUNTED_STATUSES)), strict=True))
    sides = [
        [(seed, by_run[name]) for seed, name in side if by_run[name] == by_run[name]]
        for side in (runs.first, runs.second)
    ]
    first, second = ([diverged for _, diverged in side] for side in sides)
    counts = " and ".join(f"{int(sum(side))} of {len(side)}" for side in (first, second))
    sentence = "Both arms diverged in the same share of runs" if any(first) else "No run diverged in either arm"
    hypothesis = Hypothesis(
        test="reduces",
        axis=str(claim.axis),
        first=other,
        second=claim.candidate,
        margin=claim.margin,
        metric=DIVERGENCE_RATE,
        equality_sentence=f"{sentence} ({counts})",
    )
    n_dropped = len(runs.first) + len(runs.second) - len(first) - len(second)
    n_seeds = min(len({seed for seed, _ in side}) for side in sides)
    difference = estimate_share_difference(first, second, n_seeds, runs.unmatched_runs + n_dropped)
    return make_comparison(hypothesis, difference, alpha=claim.alpha, n_comparisons=n_comparisons)


def compare_spread(claim: Claim, tables: ClaimTables, rows: pd.DataFrame, other: ArmValue) -> Comparison:
    """Compare the spreads over seeds of the finished runs of the candidate and another value."""
    axis = str(claim.axis)
    finished = rows[rows["status"] == "COMPLETE"]
    values, resolution = _collect_spreading_values(claim, tables, finished)
    cells = [name for name in tables.axes if name != axis]
    sides = [
        group_values_by_cell(finished[equals_value(finished[axis], arm)], values, cells)
        for arm in (claim.candidate, other)
    ]
    hypothesis = Hypothesis(
        test="no-better",
        axis=axis,
        first=claim.candidate,
        second=other,
        margin=claim.margin,
        metric=SPREADS[claim.spread_of],
        is_deciding=False,
    )
    difference = estimate_spread_difference(sides[0], sides[1], resolution)
    return make_comparison(hypothesis, difference, alpha=claim.alpha, n_comparisons=1)


def _collect_spreading_values(claim: Claim, tables: ClaimTables, rows: pd.DataFrame) -> tuple[dict[str, float], float]:
    """Return fingerprint -> the value that spreads over seeds, and the smallest step it can take."""
    match claim.spread_of:
        case "val_loss":
            return dict(zip(rows["fingerprint"], extract_metric(rows, "val_loss"), strict=True)), 0.0
        case "pass_rate":
            runs = tables.matrix[[name for name in rows["fingerprint"] if name in tables.matrix.columns]]
            # The same queries for every run, or the spread would be one between queries.
            scored = runs.dropna()
            rates = {str(name): float(scored[name].mean()) for name in scored.columns}
            return rates, 1 / len(scored) if len(scored) else 0.0
        case _:
            assert_never(claim.spread_of)


def compare_step_shares(
    claim: Claim, tables: ClaimTables, rows: pd.DataFrame, histories: Mapping[str, pd.DataFrame], other: ArmValue
) -> list[Comparison]:
    """Compare the shares of logged steps with a loss spike and with a large gradient norm."""
    spikes, tails = {}, {}
    for row in rows.to_dict("records"):
        history = histories.get(row["fingerprint"])
        if history is None:
            continue
        clip = claim.candidate if claim.axis == "max_grad_norm" else row.get("max_grad_norm")
        spikes[str(row["fingerprint"])] = compute_spike_share(history)
        tails[str(row["fingerprint"])] = compute_tail_share(history, math.nan if clip is None else float(clip))
    return [
        tables.compare_run_values(
            claim,
            Hypothesis(
                test="superior",
                axis=str(claim.axis),
                first=other,
                second=claim.candidate,
                margin=claim.margin,
                metric=metric,
                is_deciding=False,
            ),
            shares,
        )
        for metric, shares in ((LOSS_SPIKES, spikes), (GRADIENT_TAIL, tails))
    ]


def compute_spike_share(history: pd.DataFrame) -> float:
    """Return the share of logged steps with a loss spike.

    A spike is a loss that exceeds SPIKE_RATIO times the median of the SPIKE_WINDOW before, or is not finite. NaN with
    SPIKE_WINDOW logged losses or fewer.
    """
    # Rows of the validation loss have neither; a training row whose loss is not a number is a spike.
    columns = [name for name in ("loss", "grad_norm") if name in history.columns]
    losses = history.loc[history[columns].notna().any(axis=1), "loss"]
    if len(losses) <= SPIKE_WINDOW:
        return math.nan
    before = losses.shift(1).rolling(SPIKE_WINDOW, min_periods=1).median()
    return float((~np.isfinite(losses) | (losses > SPIKE_RATIO * before)).iloc[SPIKE_WINDOW:].mean())


def compute_tail_share(history: pd.DataFrame, clip: float) -> float:
    """Return the share of logged gradient norms, before clipping, above `clip`; NaN without any, or without a clip."""
    if "grad_norm" not in history.columns or math.isnan(clip):
        return math.nan
    norms = history["grad_norm"].dropna()
    return float((norms > clip).mean()) if len(norms) else math.nan


KIND = Stabilises()
