"""Trials and their rates -> arms: rates, subsets, cost, and summaries of many arms for one plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard, cast

import numpy as np

from sweeper.claims.interval_estimates import estimate_reference_gap
from sweeper.claims.reasons import MIN_SEEDS
from sweeper.config.axes import format_arm_name
from sweeper.report.claim_document import AxisValue
from sweeper.report.curves import compute_band
from sweeper.report.document import (
    ArmEntry,
    CostEntry,
    HeatmapCell,
    HeatmapEntry,
    MarginalEntry,
    RateEntry,
    SeedEntry,
    SubsetEntry,
    get_axis,
    get_metric,
)
from sweeper.statistics import COUNTED_STATUSES, PassRate
from sweeper.statistics.vectorized_rates import ArmRates, compute_arm_rates, compute_run_rates

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, object]
HEATMAP_AXES = ("model", "learning_rate", "max_grad_norm")


def build_arms(
    trials: pd.DataFrame,
    matrix: pd.DataFrame,
    axes: Sequence[str],
    matrix_without_leaked: pd.DataFrame | None,
    run_summaries: Mapping[str, Mapping[str, Mapping[str, float]]],
    alpha: float,
) -> tuple[list[ArmEntry], list[SubsetEntry]]:
    """Build every combination of the axes, small models first, and their subsets.

    Args:
        trials: one row per trial.
        matrix: passes, queries by runs.
        axes: columns of `trials` that define an arm.
        matrix_without_leaked: the matrix without the queries that leaked into training; None without an audit.
        run_summaries: fingerprint -> definitions and failure signatures of the run.
        alpha: level of the intervals.
    """
    varied = [axis for axis in axes if axis != "model" and trials[axis].nunique(dropna=False) > 1]
    groups: dict[tuple[AxisValue, ...], list[Row]] = {}
    for row in trials.to_dict("records"):
        groups.setdefault(tuple(_replace_nan(row[axis]) for axis in axes), []).append(
            {str(key): value for key, value in row.items()}
        )
    finished = [[row for row in rows if row["status"] in COUNTED_STATUSES] for rows in groups.values()]
    names = [[str(row["fingerprint"]) for row in rows] for rows in finished]
    rates, rate_by_run = compute_arm_rates(matrix, names, alpha), compute_run_rates(matrix)
    clean_rates = None if matrix_without_leaked is None else compute_arm_rates(matrix_without_leaked, names, alpha)
    arms = []
    for i, (values, rows) in enumerate(groups.items()):
        place = dict(zip(axes, values, strict=True))
        label = " · ".join([str(place.get("model", "")), *(format_arm_name(axis, place[axis]) for axis in varied)])
        arm = {
            "label": label,
            **place,
            "parameters": (finished[i] or rows)[0].get("parameters"),
            **serialize_rate(rates[i].overall),
            "run_interval": _compute_run_interval(finished[i], matrix, alpha),
            "subset_mean": serialize_rate(rates[i].subset_mean),
            "without_leaked": None if clean_rates is None else serialize_rate(clean_rates[i].overall),
            **_summarize_runs(rows, finished[i], rates[i], rate_by_run, run_summaries),
        }
        subsets = [
            cast(SubsetEntry, {"arm": label, "subset": name, **serialize_rate(rate)})
            for name, rate in rates[i].subsets.items()
        ]
        arms.append((cast(ArmEntry, arm), subsets))
    arms.sort(key=lambda item: parameters if is_finite_number(parameters := item[0]["parameters"]) else math.inf)
    return [arm for arm, _ in arms], [row for _, rows in arms for row in rows]


def _compute_run_interval(finished: Sequence[Row], matrix: pd.DataFrame, alpha: float) -> list[float]:
    """Compute the interval of an arm's pass rate over queries and seeds, as claims do; NaN without two seeds."""
    runs = [(cast(int, row["seed"]), str(row["fingerprint"])) for row in finished]
    if len({seed for seed, name in runs if name in matrix.columns}) < MIN_SEEDS:
        return [math.nan, math.nan]
    interval = estimate_reference_gap(matrix, runs, 0.0).compute_interval(alpha)
    return [interval.low, interval.high]


def _summarize_runs(
    rows: Sequence[Row],
    finished: Sequence[Row],
    rates: ArmRates,
    rate_by_run: Mapping[str, float],
    run_summaries: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> dict[str, object]:
    """Summarize the runs of an arm: validation loss, definitions, failure signatures, cost and seeds."""
    known = [run_summaries[str(row["fingerprint"])] for row in finished if row["fingerprint"] in run_summaries]
    seeds = [_summarize_seed(row, rate_by_run) for row in finished]
    losses = [s["val_loss"] for s in seeds if s["status"] == "COMPLETE" and s["val_loss"] is not None]
    return {
        "val_loss": average_or_none(losses),
        "definitions": _average_by_key([run["definitions"] for run in known]),
        "signatures": _average_by_key([run["signatures"] for run in known])
        | {"unseen_tool_drop": _compute_unseen_tool_drop(rates.subsets)},
        "cost": _summarize_cost(finished, rates.overall, rate_by_run),
        "runs": len(rows),
        "runs_done": len(finished),
        "runs_diverged": sum(row["status"] == "DIVERGED" for row in rows),
        "seeds": seeds,
    }


def marginal_summaries(arms: Sequence[ArmEntry], axes: Sequence[str]) -> dict[str, list[MarginalEntry]]:
    """Summarize, for each value of each axis, the arms that have it: what a plot shows of many arms."""
    summaries: dict[str, list[MarginalEntry]] = {}
    for axis in axes:
        groups: dict[AxisValue, list[ArmEntry]] = {}
        for arm in arms:
            groups.setdefault(get_axis(arm, axis), []).append(arm)
        summaries[axis] = [
            {
                "value": value,
                "parameters": own[0]["parameters"] if axis == "model" else None,
                "arms": len(own),
                "pass_rate": compute_band([arm["pass_rate"] for arm in own if is_finite_number(arm["pass_rate"])]),
                "val_loss": compute_band([arm["val_loss"] for arm in own if is_finite_number(arm["val_loss"])]),
            }
            for value, own in groups.items()
        ]
    return summaries


def lr_clip_heatmap(
    arms: Sequence[ArmEntry], varying_axes: Sequence[str], *, is_evaluated: bool
) -> HeatmapEntry | None:
    """Average each model's finished runs by learning rate and clipping, and count those that diverged.

    A diverged run passes nothing, and has no validation loss.

    Returns:
        None where learning rate or clipping does not vary.
    """
    if not {"learning_rate", "max_grad_norm"} <= set(varying_axes):
        return None
    metric = "pass_rate" if is_evaluated else "val_loss"
    groups: dict[tuple[AxisValue, ...], list[ArmEntry]] = {}
    for arm in arms:
        groups.setdefault(tuple(get_axis(arm, axis) for axis in HEATMAP_AXES), []).append(arm)
    cells = []
    for place, own in groups.items():
        seeds = [seed for arm in own for seed in arm["seeds"]]
        values = [get_metric(seed, metric) for seed in seeds if is_evaluated or seed["status"] == "COMPLETE"]
        cell = dict(zip(HEATMAP_AXES, place, strict=True)) | {
            "value": average_or_none([value for value in values if is_finite_number(value)]),
            "runs_done": len(seeds),
            "runs_diverged": sum(seed["status"] == "DIVERGED" for seed in seeds),
        }
        cells.append(cast(HeatmapCell, cell))
    return {"metric": metric, "over": [axis for axis in varying_axes if axis not in HEATMAP_AXES], "cells": cells}


def serialize_rate(rate: PassRate) -> RateEntry:
    """Write a rate as the document holds it."""
    return {
        "pass_rate": rate.rate,
        "interval": [rate.low, rate.high],
        "n_queries": rate.n_queries,
        "n_outcomes": rate.n_outcomes,
        "unscored": rate.n_unscored,
    }


def read_metric(row: Row, name: str) -> float | None:
    """Read a metric of a trial from its column, else from its `metrics`; None where neither is finite."""
    metrics = row.get("metrics")
    for value in (row.get(name), metrics.get(name) if isinstance(metrics, Mapping) else None):
        if is_finite_number(value):
            return float(value)
    return None


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; booleans do not count."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))


def average_or_none(values: Sequence[float]) -> float | None:
    """Average values; None without any."""
    return sum(values) / len(values) if values else None


def _replace_nan(value: AxisValue) -> AxisValue:
    """Replace NaN (clipping off) by None: NaN differs from itself."""
    return None if value != value else value


def _summarize_seed(row: Row, rate_by_run: Mapping[str, float]) -> SeedEntry:
    rate = rate_by_run.get(str(row["fingerprint"]), math.nan)
    return {
        "seed": cast(int, row["seed"]),
        "status": str(row["status"]),
        "val_loss": read_metric(row, "val_loss"),
        "train_flops": read_metric(row, "train_flops"),
        "pass_rate": None if math.isnan(rate) else rate,
    }


def _summarize_cost(rows: Sequence[Row], rate: PassRate, rate_by_run: Mapping[str, float]) -> CostEntry:
    """Average the cost of an arm's finished runs.

    Seconds per solved query are over the runs with a rate and an evaluation time; training is spread over the queries
    of one evaluation. None where nothing is known, or nothing was solved.
    """
    train, evaluation, flops = (
        [read_metric(row, name) for row in rows] for name in ("train_seconds", "eval_seconds", "train_flops")
    )
    eval_seconds = n_solved = train_seconds = 0.0
    for row, own_train, own_evaluation in zip(rows, train, evaluation, strict=True):
        own_solved = rate_by_run.get(str(row["fingerprint"]), math.nan) * rate.n_queries
        if own_train is not None and own_evaluation is not None and not math.isnan(own_solved):
            eval_seconds, train_seconds = eval_seconds + own_evaluation, train_seconds + own_train
            n_solved += own_solved
    return {
        "train_seconds": _average_known(train),
        "eval_seconds": _average_known(evaluation),
        "train_flops": _average_known(flops),
        "eval_seconds_per_solved": eval_seconds / n_solved if n_solved else None,
        "seconds_per_solved": (eval_seconds + train_seconds) / n_solved if n_solved else None,
    }


def _average_known(values: Sequence[float | None]) -> float | None:
    return average_or_none([value for value in values if value is not None])


def _average_by_key(dicts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average dictionaries with equal keys, key by key; empty without any."""
    return {key: sum(d[key] for d in dicts) / len(dicts) for key in (dicts[0] if dicts else ())}


def _compute_unseen_tool_drop(subsets: Mapping[str, PassRate]) -> float:
    """Subtract the pass rate on unseen tools (`*_tool`, `*_category`) from that on seen ones (`*_instruction`)."""
    seen = [rate.rate for name, rate in subsets.items() if name.endswith("_instruction")]
    unseen = [rate.rate for name, rate in subsets.items() if name.endswith(("_tool", "_category"))]
    return sum(seen) / len(seen) - sum(unseen) / len(unseen) if seen and unseen else math.nan
