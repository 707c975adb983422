"""Which runs of each arm a claim compares: all, those tuned elsewhere, or those of equal training compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.config.axes import format_arm_name
from sweeper.statistics.pass_matrix import COUNTED_STATUSES

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

COMPUTE_TOLERANCE = 0.05
"""Largest relative distance of a run's training compute from the common budget."""


@dataclass(frozen=True)
class AxisChoice:
    """The value of the free axis that an arm was given. `score`: mean validation loss (nats) on the selection seeds, or
    training FLOPs; `tried`: how many values there were."""

    arm: str | float
    axis: str
    value: str | float | None
    score: float
    tried: int


@dataclass(frozen=True)
class RunSelection:
    """`rows` are compared, paired over `axes`; `planned` have to have a result; `problem`: why nothing can be decided
    ('' for nothing); `note`: what a reader should know."""

    rows: pd.DataFrame
    axes: tuple[str, ...]
    required_rows: pd.DataFrame
    choices: tuple[AxisChoice, ...] = ()
    problem: str = ""
    note: str = ""


def extract_metric(rows: pd.DataFrame, name: str) -> pd.Series[float]:
    """A metric of each run, from its column, else from the mapping `metrics`; NaN where it has none."""
    import pandas as pd

    nothing = pd.Series(np.nan, index=rows.index, dtype=float)
    found = pd.to_numeric(rows[name], errors="coerce").astype(float) if name in rows.columns else nothing
    if "metrics" not in rows.columns or found.notna().all():
        return found
    held = [held.get(name) if isinstance(held, Mapping) else None for held in rows["metrics"]]
    return found.fillna(pd.to_numeric(pd.Series(held, index=rows.index, dtype=object), errors="coerce").astype(float))


def select_runs(claim: Claim, rows: pd.DataFrame, axes: Sequence[str]) -> RunSelection:
    """The runs that the claim's protocol compares."""
    if claim.protocol in ("identical", "searched") or claim.axis is None:
        return RunSelection(rows, tuple(axes), rows)
    return (
        _select_tuned_runs(claim, rows, axes)
        if claim.protocol == "tuned"
        else _select_equal_compute_runs(claim, rows, axes)
    )


def _select_tuned_runs(claim: Claim, rows: pd.DataFrame, axes: Sequence[str]) -> RunSelection:
    import pandas as pd

    free, kept = str(claim.tuned_axis), tuple(axis for axis in axes if axis != claim.tuned_axis)
    overlap = set(claim.selection_seeds) & set(claim.confirmation_seeds)
    selecting = rows[rows["seed"].isin(claim.selection_seeds)]
    fresh = ~rows["seed"].isin(claim.selection_seeds)
    confirming = rows[fresh & rows["seed"].isin(claim.confirmation_seeds)] if claim.confirmation_seeds else rows[fresh]
    nothing = rows.iloc[:0]
    for problem in (
        f"seeds {sorted(overlap)} both select and confirm" if overlap else "",
        f"no run of the selection seeds {claim.selection_seeds} is planned" if selecting.empty else "",
        "no run on seeds that did not select is planned" if confirming.empty else "",
    ):
        if problem:
            return RunSelection(nothing, kept, rows, problem=problem)
    unfinished = int((~selecting["status"].isin(COUNTED_STATUSES)).sum())
    if unfinished:
        return RunSelection(nothing, kept, rows, problem=f"{unfinished} selection runs have no result")
    choices, chosen, notes = [], [], []
    for arm, cell, group in _group_by_arm(selecting, str(claim.axis), [a for a in kept if a != claim.axis]):
        losses = extract_metric(group, "val_loss").where(group["status"] == "COMPLETE", math.inf)
        if losses.isna().any():
            problem = f"a selection run of {format_arm_name(str(claim.axis), arm)} has no validation loss"
            return RunSelection(nothing, kept, rows, problem=problem)
        means = losses.groupby(group[free], dropna=False).mean()
        value = means.index[int(np.argmin(means.to_numpy()))]
        if not math.isfinite(means.min()):
            problem = f"every value of {free} diverged for {format_arm_name(str(claim.axis), arm)}"
            return RunSelection(nothing, kept, rows, problem=problem)
        choices.append(AxisChoice(arm, free, value, float(means.min()), len(means)))
        if len(means) > 2 and value in (means.index[0], means.index[-1]):
            notes.append(format_arm_name(str(claim.axis), arm))
        chosen.append(_filter_matching_rows(confirming, {str(claim.axis): arm, free: value, **cell}))
    if len({choice.tried for choice in choices}) > 1:
        tried = ", ".join(f"{format_arm_name(str(claim.axis), c.arm)} {c.tried}" for c in choices)
        return RunSelection(nothing, kept, rows, tuple(choices), f"arms tried different numbers of values ({tried})")
    compared = pd.concat(chosen)
    edge = f" At the edge of the values tried, so that a better one may lie beyond: {', '.join(notes)}."
    note = " ".join(
        f"{format_arm_name(str(claim.axis), c.arm)} runs at {format_arm_name(free, c.value)}." for c in choices
    )
    return RunSelection(
        compared,
        kept,
        pd.concat([selecting, compared]),
        tuple(choices),
        note=f" Tuned on seeds {', '.join(map(str, claim.selection_seeds))}: {note}" + (edge if notes else ""),
    )


def _select_equal_compute_runs(claim: Claim, rows: pd.DataFrame, axes: Sequence[str]) -> RunSelection:
    import pandas as pd

    axis, free = str(claim.axis), claim.compute_axis
    kept = tuple(name for name in axes if name != free)
    nothing = rows.iloc[:0]
    flops = extract_metric(rows, "train_flops")
    if not (flops > 0).any():
        return RunSelection(nothing, kept, rows, problem="no run's training FLOPs are known")
    if free not in rows.columns:
        return RunSelection(nothing, kept, rows, problem=f"the trials have no column {free}")
    options: dict[tuple[Any, ...], dict[Any, pd.Series[float]]] = {}
    for arm, cell, group in _group_by_arm(rows, axis, [name for name in kept if name != axis]):
        key = tuple((name, None if value != value else value) for name, value in cell.items())
        options.setdefault(key, {})[arm] = flops[group.index].groupby(group[free], dropna=False).mean().dropna()
    choices: list[AxisChoice] = []
    chosen = []
    for key, arms in options.items():
        unknown = [format_arm_name(axis, arm) for arm, found in arms.items() if found.empty]
        if unknown:
            return RunSelection(nothing, kept, rows, problem=f"training FLOPs of {', '.join(unknown)} are unknown")
        if claim.candidate not in arms:
            problem = f"{format_arm_name(axis, claim.candidate)} is not among the planned trials"
            return RunSelection(nothing, kept, rows, problem=problem)
        budgets = [claim.train_flops] if claim.train_flops else sorted(arms[claim.candidate], reverse=True)
        budget = min(budgets, key=lambda b: max(float((found / b - 1).abs().min()) for found in arms.values()))
        for arm, found in arms.items():
            distance = (found / budget - 1).abs()
            value = distance.index[int(np.argmin(distance.to_numpy()))]
            if distance.min() > COMPUTE_TOLERANCE:
                problem = (
                    f"{format_arm_name(axis, arm)} has no run within {100 * COMPUTE_TOLERANCE:g} % of {budget:.3g} training FLOPs: "
                    f"the closest, {format_arm_name(free, value)}, has {found[value]:.3g}"
                )
                return RunSelection(nothing, kept, rows, tuple(choices), problem)
            choices.append(AxisChoice(arm, free, value, float(found[value]), len(found)))
            chosen.append(_filter_matching_rows(rows, {axis: arm, free: value, **dict(key)}))
    compared = pd.concat(chosen)
    given = "; ".join(
        f"{format_arm_name(axis, c.arm)}: {format_arm_name(free, c.value)}, {c.score:.3g} FLOPs" for c in choices
    )
    return RunSelection(compared, kept, compared, tuple(choices), note=f" At equal training compute ({given}).")


def _group_by_arm(
    rows: pd.DataFrame, axis: str, others: Sequence[str]
) -> list[tuple[Any, dict[str, Any], pd.DataFrame]]:
    """(arm, cell of the other axes, rows) for every combination that occurs."""
    keys = [axis, *(name for name in others if name in rows.columns)]
    found = []
    for values, group in rows.groupby(keys, dropna=False, sort=False):
        found.append((values[0], dict(zip(keys[1:], values[1:], strict=True)), group))
    return found


def _filter_matching_rows(rows: pd.DataFrame, cell: Mapping[str, Any]) -> pd.DataFrame:
    from sweeper.statistics.paired import equals_value

    for name, value in cell.items():
        rows = rows[equals_value(rows[name], value)]
    return rows
