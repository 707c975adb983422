"""The runs of each arm that a claim compares: all, those tuned on other seeds, or those of equal training compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never, cast

import numpy as np

from sweeper.config.axes import format_arm_name
from sweeper.statistics.aliases import ArmValue
from sweeper.statistics.paired import equals_value
from sweeper.statistics.pass_matrix import COUNTED_STATUSES

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

COMPUTE_TOLERANCE = 0.05
"""Largest relative distance of a run's training compute from the common budget."""


@dataclass(frozen=True)
class AxisChoice:
    """The value of the free axis that the protocol chose for an arm."""

    arm: str | float
    axis: str
    value: ArmValue
    score: float
    """Mean validation loss (nats) on the selection seeds, or training FLOPs."""
    tried: int
    """Number of values to choose from."""


@dataclass(frozen=True)
class RunSelection:
    """The runs that a claim compares."""

    rows: pd.DataFrame
    axes: tuple[str, ...]
    """Axes over which runs are paired."""
    required_rows: pd.DataFrame
    """Runs that need a result."""
    choices: tuple[AxisChoice, ...] = ()
    problem: str = ""
    """Why nothing can be decided; '' for nothing."""
    note: str = ""
    """What a reader should know."""


def extract_metric(rows: pd.DataFrame, name: str) -> pd.Series[float]:
    """Return a metric of each run, from its column or else from the mapping `metrics`; NaN where it has none."""
    import pandas as pd

    nothing = pd.Series(np.nan, index=rows.index, dtype=float)
    values = pd.to_numeric(rows[name], errors="coerce").astype(float) if name in rows.columns else nothing
    if "metrics" not in rows.columns or values.notna().all():
        return values
    held = [metrics.get(name) if isinstance(metrics, Mapping) else None for metrics in rows["metrics"]]
    return values.fillna(pd.to_numeric(pd.Series(held, index=rows.index, dtype=object), errors="coerce").astype(float))


def select_runs(claim: Claim, rows: pd.DataFrame, axes: Sequence[str]) -> RunSelection:
    """Select the runs that the claim's protocol compares."""
    match claim.protocol:
        case "identical" | "searched":
            return RunSelection(rows, tuple(axes), rows)
        case "tuned":
            return _select_tuned_runs(claim, rows, axes)
        case "equal-compute":
            return _select_equal_compute_runs(claim, rows, axes)
        case _:
            assert_never(claim.protocol)


def _select_tuned_runs(claim: Claim, rows: pd.DataFrame, axes: Sequence[str]) -> RunSelection:
    import pandas as pd

    axis, free = str(claim.axis), str(claim.tuned_axis)
    paired_axes = tuple(name for name in axes if name != free)
    selecting, confirming, problem = _split_by_seed(claim, rows)
    nothing = rows.iloc[:0]
    if problem:
        return RunSelection(nothing, paired_axes, rows, problem=problem)
    choices, chosen, at_edge = [], [], []
    for arm, cell, group in _group_by_arm(selecting, axis, [name for name in paired_axes if name != axis]):
        losses = extract_metric(group, "val_loss").where(group["status"] == "COMPLETE", math.inf)
        if losses.isna().any():
            problem = f"a selection run of {format_arm_name(axis, arm)} has no validation loss"
            return RunSelection(nothing, paired_axes, rows, problem=problem)
        means = losses.groupby(group[free], dropna=False).mean()
        value = means.index[int(np.argmin(means.to_numpy()))]
        if not math.isfinite(means.min()):
            problem = f"every value of {free} diverged for {format_arm_name(axis, arm)}"
            return RunSelection(nothing, paired_axes, rows, problem=problem)
        choices.append(AxisChoice(cast("str | float", arm), free, value, float(means.min()), len(means)))
        if len(means) > 2 and value in (means.index[0], means.index[-1]):
            at_edge.append(format_arm_name(axis, arm))
        chosen.append(_filter_matching_rows(confirming, {axis: arm, free: value, **cell}))
    if len({choice.tried for choice in choices}) > 1:
        tried = ", ".join(f"{format_arm_name(axis, c.arm)} {c.tried}" for c in choices)
        problem = f"arms tried different numbers of values ({tried})"
        return RunSelection(nothing, paired_axes, rows, tuple(choices), problem)
    compared = pd.concat(chosen)
    return RunSelection(
        compared,
        paired_axes,
        pd.concat([selecting, compared]),
        tuple(choices),
        note=_describe_tuning(claim, choices, at_edge),
    )


def _split_by_seed(claim: Claim, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return the runs that select, those that confirm, and why nothing can be decided ('' for nothing)."""
    overlap = set(claim.selection_seeds) & set(claim.confirmation_seeds)
    selects = rows["seed"].isin(claim.selection_seeds)
    confirms = ~selects & (rows["seed"].isin(claim.confirmation_seeds) if claim.confirmation_seeds else True)
    selecting, confirming = rows[selects], rows[confirms]
    n_unfinished = int((~selecting["status"].isin(COUNTED_STATUSES)).sum())
    problem = ""
    if overlap:
        problem = f"seeds {sorted(overlap)} both select and confirm"
    elif selecting.empty:
        problem = f"no run of the selection seeds {claim.selection_seeds} is planned"
    elif confirming.empty:
        problem = "no run on seeds that did not select is planned"
    elif n_unfinished:
        problem = f"{n_unfinished} selection runs have no result"
    return selecting, confirming, problem


def _describe_tuning(claim: Claim, choices: Sequence[AxisChoice], at_edge: Sequence[str]) -> str:
    axis, free = str(claim.axis), str(claim.tuned_axis)
    values = " ".join(f"{format_arm_name(axis, c.arm)} runs at {format_arm_name(free, c.value)}." for c in choices)
    note = f" Tuned on seeds {', '.join(map(str, claim.selection_seeds))}: {values}"
    if at_edge:
        note += f" At the edge of the values tried, so that a better one may lie beyond: {', '.join(at_edge)}."
    return note


def _select_equal_compute_runs(claim: Claim, rows: pd.DataFrame, axes: Sequence[str]) -> RunSelection:
    import pandas as pd

    axis, free = str(claim.axis), claim.compute_axis
    paired_axes = tuple(name for name in axes if name != free)
    nothing = rows.iloc[:0]
    flops = extract_metric(rows, "train_flops")
    if not (flops > 0).any():
        return RunSelection(nothing, paired_axes, rows, problem="no run's training FLOPs are known")
    if free not in rows.columns:
        return RunSelection(nothing, paired_axes, rows, problem=f"the trials have no column {free}")
    options: dict[tuple[tuple[str, object], ...], dict[ArmValue, pd.Series[float]]] = {}
    for arm, cell, group in _group_by_arm(rows, axis, [name for name in paired_axes if name != axis]):
        key = tuple((name, None if value != value else value) for name, value in cell.items())
        options.setdefault(key, {})[arm] = flops[group.index].groupby(group[free], dropna=False).mean().dropna()
    choices: list[AxisChoice] = []
    chosen = []
    for key, arms in options.items():
        choices_of_cell, problem = _choose_equal_compute(claim, arms)
        choices += choices_of_cell
        if problem:
            return RunSelection(nothing, paired_axes, rows, tuple(choices), problem)
        chosen += [
            _filter_matching_rows(rows, {axis: choice.arm, free: choice.value, **dict(key)})
            for choice in choices_of_cell
        ]
    compared = pd.concat(chosen)
    listed = "; ".join(
        f"{format_arm_name(axis, c.arm)}: {format_arm_name(free, c.value)}, {c.score:.3g} FLOPs" for c in choices
    )
    note = f" At equal training compute ({listed})."
    return RunSelection(compared, paired_axes, compared, tuple(choices), note=note)


def _choose_equal_compute(claim: Claim, arms: Mapping[ArmValue, pd.Series[float]]) -> tuple[list[AxisChoice], str]:
    """Choose each arm's run at a common budget, and return why that is impossible ('' for nothing).

    Args:
        arms: arm -> training FLOPs by value of the free axis.
    """
    axis, free = str(claim.axis), claim.compute_axis
    unknown = [format_arm_name(axis, arm) for arm, flops in arms.items() if flops.empty]
    if unknown:
        return [], f"training FLOPs of {', '.join(unknown)} are unknown"
    if claim.candidate not in arms:
        return [], f"{format_arm_name(axis, claim.candidate)} is not among the planned trials"
    budgets = [claim.train_flops] if claim.train_flops else sorted(arms[claim.candidate], reverse=True)
    budget = min(budgets, key=lambda b: max(float((flops / b - 1).abs().min()) for flops in arms.values()))
    choices: list[AxisChoice] = []
    for arm, flops in arms.items():
        distance = (flops / budget - 1).abs()
        value = distance.index[int(np.argmin(distance.to_numpy()))]
        if distance.min() > COMPUTE_TOLERANCE:
            return choices, (
                f"{format_arm_name(axis, arm)} has no run within {100 * COMPUTE_TOLERANCE:g} % of {budget:.3g} "
                f"training FLOPs: the closest, {format_arm_name(free, value)}, has {flops[value]:.3g}"
            )
        choices.append(AxisChoice(cast("str | float", arm), free, value, float(flops[value]), len(flops)))
    return choices, ""


def _group_by_arm(
    rows: pd.DataFrame, axis: str, others: Sequence[str]
) -> list[tuple[ArmValue, dict[str, object], pd.DataFrame]]:
    """Return (arm, cell of the other axes, rows) for every combination that occurs."""
    keys = [axis, *(name for name in others if name in rows.columns)]
    return [
        (cast(ArmValue, values[0]), dict(zip(keys[1:], values[1:], strict=True)), group)
        for values, group in rows.groupby(keys, dropna=False, sort=False)
    ]


def _filter_matching_rows(rows: pd.DataFrame, cell: Mapping[str, object]) -> pd.DataFrame:
    for name, value in cell.items():
        rows = rows[equals_value(rows[name], value)]
    return rows
