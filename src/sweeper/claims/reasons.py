"""The label of a verdict and the reason for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeper.claims.comparison import PASS_RATE, Comparison, describe_hypothesis
from sweeper.claims.kinds.base import ComparisonSet, VerdictLabel
from sweeper.config.axes import format_arm_name
from sweeper.statistics.pass_matrix import COUNTED_STATUSES

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

MIN_SEEDS = 2
"""With fewer seeds the spread between training runs is unknown, and a claim stays inconclusive."""
MAX_LISTED_RUNS = 4


def choose_label(
    comparisons: Sequence[Comparison], comparison_set: ComparisonSet, incomplete_runs: Sequence[str]
) -> tuple[VerdictLabel, str]:
    """Choose the verdict and its reason.

    Args:
        comparisons: the deciding comparisons.
        comparison_set: the claim's comparisons, with what is missing.
        incomplete_runs: planned runs without a result.
    """
    if comparison_set.problem and not any(c.is_refuted for c in comparisons):
        return "inconclusive", f"Not decidable: {comparison_set.problem}."
    if incomplete_runs:
        listed = "; ".join([*incomplete_runs[:MAX_LISTED_RUNS], *(["…"] if incomplete_runs[MAX_LISTED_RUNS:] else [])])
        return (
            "inconclusive",
            f"Planned runs without a result: {len(incomplete_runs)} of {len(comparison_set.required_rows)} ({listed}).",
        )
    defined = [c for c in comparisons if not math.isnan(c.estimate.estimate)]
    if not defined or (len(defined) < len(comparisons) and not any(c.is_refuted for c in defined)):
        return "inconclusive", _describe_undefined(comparisons)
    note = _describe_exclusions(comparisons, comparison_set.required_rows)
    if min(c.estimate.n_seeds for c in defined) < MIN_SEEDS:
        return "inconclusive", f"One seed: the spread between training runs is unknown, so there is no verdict.{note}"
    for comparison in comparisons:
        if comparison.is_refuted:
            return "refuted", f"Refuted: {describe_hypothesis(comparison, is_contradicted=True)}.{note}"
    not_established = [c for c in comparisons if not c.is_established]
    if not not_established:
        return "supported", f"{_describe_count(len(comparisons))} established.{note}"
    return "inconclusive", f"Not established: {'; '.join(describe_hypothesis(c) for c in not_established)}.{note}"


def _describe_count(n_comparisons: int) -> str:
    match n_comparisons:
        case 1:
            return "The comparison is"
        case 2:
            return "Both comparisons are"
        case _:
            return f"All {n_comparisons} comparisons are"


def _describe_undefined(comparisons: Sequence[Comparison]) -> str:
    if all(c.metric == PASS_RATE for c in comparisons):
        return "Some arms share no scored query."
    undefined = [c for c in comparisons if math.isnan(c.estimate.estimate)]
    return f"Undefined: {'; '.join(f'{describe_hypothesis(c)} ({c.estimate.method})' for c in undefined)}."


def _describe_exclusions(comparisons: Sequence[Comparison], rows: pd.DataFrame) -> str:
    n_diverged = int((rows["status"] == "DIVERGED").sum())
    text = f" Diverged runs count as passing nothing (here {n_diverged})." if n_diverged else ""
    n_queries, n_outcomes = (
        max(getattr(c.estimate.exclusions, name) for c in comparisons) for name in ("queries", "outcomes")
    )
    if n_outcomes:
        text += f" Up to {n_outcomes} outcomes are unscored: estimated from the other runs of their arm"
        text += f"; {n_queries} queries that an arm has no score for are left out." if n_queries else "."
    return text


def list_incomplete_runs(claim: Claim, comparison_set: ComparisonSet, matrix: pd.DataFrame) -> tuple[str, ...]:
    """List planned runs without a result, as `model, epochs, seed: status`; without outcomes: UNEVALUATED."""
    # Runs that only select an arm need a validation loss, and no outcomes.
    selection_seeds = set(claim.selection_seeds)
    scored = set(matrix.columns)
    names = []
    for row in comparison_set.required_rows.to_dict("records"):
        is_counted = row["status"] in COUNTED_STATUSES
        needs_outcomes = comparison_set.needs_outcomes and row["seed"] not in selection_seeds
        if is_counted and (not needs_outcomes or row["fingerprint"] in scored):
            continue
        arm = [str(row["model"]), format_arm_name("num_train_epochs", row.get("num_train_epochs", math.nan))]
        if claim.axis not in (None, "model", "num_train_epochs"):
            arm.append(format_arm_name(str(claim.axis), row[str(claim.axis)]))
        names.append(f"{', '.join(arm)}, seed {row['seed']}: {'UNEVALUATED' if is_counted else row['status']}")
    return tuple(names)


def find_binding_comparison(comparisons: Sequence[Comparison], label: VerdictLabel) -> Comparison | None:
    """Return the comparison that decides: the most violated of a refuted claim, else the closest to failing."""
    if not comparisons:
        return None
    # A rate and a ratio have no common scale but the widths of their intervals.
    has_mixed_units = len({c.unit for c in comparisons}) > 1
    refuted = [c for c in comparisons if c.is_refuted]
    if label == "refuted" and refuted:
        return max(refuted, key=lambda c: c.refute_margin / _compute_scale(c, has_mixed_units))
    return min(
        comparisons,
        key=lambda c: (
            -math.inf if math.isnan(c.support_margin) else c.support_margin / _compute_scale(c, has_mixed_units)
        ),
    )


def _compute_scale(comparison: Comparison, has_mixed_units: bool) -> float:
    width = comparison.estimate.high - comparison.estimate.low
    return width if has_mixed_units and width > 0 else 1.0
