"""Trials and their rates -> arms: rates, subsets, cost, and what stays of many arms on one plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.config.axes import format_arm_name
from sweeper.statistics import COUNTED_STATUSES, PassRate
from sweeper.statistics.vectorized_rates import compute_arm_rates, compute_run_rates

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
MARGINAL_BAND_QUANTILES = (0.1, 0.9)
"""Share of the arms below the lower and the upper end of a margin's band."""


def build_arms(
    trials: pd.DataFrame,
    matrix: pd.DataFrame,
    axes: Sequence[str],
    matrix_without_leaked: pd.DataFrame | None,
    run_summaries: Mapping[str, Any],
    alpha: float,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every combination of the axes, small models first, and their subsets. `clean`: the matrix without what leaked;
    `runs`: `Tally.by_run`'s."""
    varied = [axis for axis in axes if axis != "model" and trials[axis].nunique(dropna=False) > 1]
    groups: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    for row in trials.to_dict("records"):
        groups.setdefault(tuple(_replace_nan(row[axis]) for axis in axes), []).append(row)
    done = [[row for row in rows if row["status"] in COUNTED_STATUSES] for rows in groups.values()]
    names = [[row["fingerprint"] for row in rows] for rows in done]
    rates, own = compute_arm_rates(matrix, names, alpha), compute_run_rates(matrix)
    cleaned = None if matrix_without_leaked is None else compute_arm_rates(matrix_without_leaked, names, alpha)
    arms = []
    for i, (place, rows) in enumerate(groups.items()):
        where = dict(zip(axes, place, strict=True))
        label = " · ".join([str(where.get("model", "")), *(format_arm_name(axis, where[axis]) for axis in varied)])
        known = [run_summaries[name] for name in names[i] if name in run_summaries]
        seeds = [_summarize_seed(row, own) for row in done[i]]
        losses = [s["val_loss"] for s in seeds if s["status"] == "COMPLETE" and s["val_loss"] is not None]
        arm = {
            "label": label,
            **where,
            "parameters": rows[0].get("parameters"),
            **serialize_rate(rates[i].overall),
            "subset_mean": serialize_rate(rates[i].subset_mean),
            "without_leaked": None if cleaned is None else serialize_rate(cleaned[i].overall),
            "val_loss": average_or_none(losses),
            "definitions": _average_by_key([run["definitions"] for run in known]),
            "signatures": _average_by_key([run["signatures"] for run in known])
            | {"unseen_tool_drop": _compute_unseen_tool_drop(rates[i].subsets)},
            "cost": _summarize_cost(done[i], rates[i].overall, own),
            "runs": len(rows),
            "runs_done": len(done[i]),
            "runs_diverged": sum(row["status"] == "DIVERGED" for row in rows),
            "seeds": seeds,
        }
        arms.append((arm, [{"arm": label, "subset": s, **serialize_rate(r)} for s, r in rates[i].subsets.items()]))
    arms.sort(key=lambda item: item[0]["parameters"] if is_finite_number(item[0]["parameters"]) else math.inf)
    return [arm for arm, _ in arms], [row for _, rows in arms for row in rows]


def marginal_summaries(arms: Sequence[Row], axes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Axis -> its values, each with median and band of the arms that have it: what a plot shows of many arms."""
    found: dict[str, list[dict[str, Any]]] = {}
    for axis in axes:
        groups: dict[Any, list[Row]] = {}
        for arm in arms:
            groups.setdefault(arm[axis], []).append(arm)
        found[axis] = [
            {"value": value, "parameters": own[0]["parameters"] if axis == "model" else None, "arms": len(own)}
            | {metric: _compute_band([arm[metric] for arm in own]) for metric in ("pass_rate", "val_loss")}
            for value, own in groups.items()
        ]
    return found


def lr_clip_heatmap(arms: Sequence[Row], varying_axes: Sequence[str], *, is_evaluated: bool) -> dict[str, Any] | None:
    """Learning rate x clipping by model: mean over every finished run of a cell, and how many of them diverged. None
    where either does not vary. A diverged run passes nothing; it has no validation loss."""
    if not {"learning_rate", "max_grad_norm"} <= set(varying_axes):
        return None
    metric = "pass_rate" if is_evaluated else "val_loss"
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for arm in arms:
        cells.setdefault((arm.get("model"), arm["learning_rate"], arm["max_grad_norm"]), []).append(arm)
    found = []
    for (model, rate, clip), own in cells.items():
        seeds = [s for arm in own for s in arm["seeds"]]
        values = [s[metric] for s in seeds if is_evaluated or s["status"] == "COMPLETE"]
        found.append(
            {
                "model": model,
                "learning_rate": rate,
                "max_grad_norm": clip,
                "value": average_or_none([value for value in values if is_finite_number(value)]),
                "runs_done": len(seeds),
                "runs_diverged": sum(s["status"] == "DIVERGED" for s in seeds),
            }
        )
    return {"metric": metric, "over": [a for a in varying_axes if a not in HEATMAP_AXES], "cells": found}


HEATMAP_AXES = ("model", "learning_rate", "max_grad_norm")


def serialize_rate(rate: PassRate) -> dict[str, Any]:
    """A rate as the document holds it."""
    return {
        "pass_rate": rate.rate,
        "interval": [rate.low, rate.high],
        "n_queries": rate.n_queries,
        "n_outcomes": rate.n_outcomes,
        "unscored": rate.n_unscored,
    }


def read_metric(row: Row, name: str) -> float | None:
    """A metric of a trial, from its column, else from its `metrics`; None where it has none."""
    held = row.get("metrics")
    found: Any
    for found in (row.get(name), held.get(name) if isinstance(held, Mapping) else None):
        if is_finite_number(found):
            return float(found)
    return None


def is_finite_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)


def average_or_none(values: Sequence[float]) -> float | None:
    """None without any."""
    return sum(values) / len(values) if values else None


def _replace_nan(value: Any) -> Any:
    """NaN (clipping off, say) differs from itself; None does not."""
    return None if value != value else value


def _summarize_seed(row: Row, rate_by_run: Mapping[str, float]) -> dict[str, Any]:
    rate = rate_by_run.get(row["fingerprint"], math.nan)
    return {
        "seed": row["seed"],
        "status": row["status"],
        "val_loss": read_metric(row, "val_loss"),
        "train_flops": read_metric(row, "train_flops"),
        "pass_rate": None if math.isnan(rate) else rate,
    }


def _summarize_cost(rows: Sequence[Row], rate: PassRate, rate_by_run: Mapping[str, float]) -> dict[str, Any]:
    """Means over an arm's finished runs; seconds per solved query over those with a rate and an evaluation time, with
    training spread over the queries of one evaluation. None where nothing is known, or nothing was solved."""
    seconds = {
        name: [read_metric(row, name) for row in rows] for name in ("train_seconds", "eval_seconds", "train_flops")
    }
    found = {name: average_or_none([v for v in values if v is not None]) for name, values in seconds.items()}
    spent = solved = trained = 0.0
    for row, train, evaluation in zip(rows, seconds["train_seconds"], seconds["eval_seconds"], strict=True):
        passed = rate_by_run.get(row["fingerprint"], math.nan) * rate.n_queries
        if train is not None and evaluation is not None and not math.isnan(passed):
            spent, solved, trained = spent + evaluation, solved + passed, trained + train
    return found | {
        "eval_seconds_per_solved": spent / solved if solved else None,
        "seconds_per_solved": (spent + trained) / solved if solved else None,
    }


def _compute_band(values: Sequence[Any]) -> dict[str, float | None]:
    there = [value for value in values if is_finite_number(value)]
    if not there:
        return {"low": None, "median": None, "high": None}
    low, median, high = np.quantile(there, [MARGINAL_BAND_QUANTILES[0], 0.5, MARGINAL_BAND_QUANTILES[1]])
    return {"low": float(low), "median": float(median), "high": float(high)}


def _average_by_key(dicts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Key by key, over runs; empty without any."""
    return {key: sum(d[key] for d in dicts) / len(dicts) for key in (dicts[0] if dicts else ())}


def _compute_unseen_tool_drop(subsets: Mapping[str, PassRate]) -> float:
    """Pass rate on seen tools minus that on unseen ones: means of the `*_instruction` and of the other subsets."""
    seen = [rate.rate for name, rate in subsets.items() if name.endswith("_instruction")]
    unseen = [rate.rate for name, rate in subsets.items() if name.endswith(("_tool", "_category"))]
    return sum(seen) / len(seen) - sum(unseen) / len(unseen) if seen and unseen else math.nan
