"""What was predicted before the first trial started, against what the records say. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeper.config.axes import format_arm_name

NAN = math.nan


def compare_predicted_costs(
    rows: Sequence[Mapping[str, Any]],
    plan: Mapping[str, Any] | None,
    varying_axes: Sequence[str],
    wall_hours: float | None = None,
) -> dict[str, Any] | None:
    """Predicted and actual seconds of each arm and of all; None where nothing was predicted.

    `rows`: the trials as the store has them now. `plan`: the study's plan.json, as written by the run that predicted.
    `wall_hours`: what all runs of the study took together. Compared are training and evaluation of trials that were to
    be run whole and have been; starting and saving are in no record. Trials that the store had at that time are left
    out and counted, and so are those that have not ended. A ratio is actual over predicted, NaN where nothing ran.
    """
    said = {row["fingerprint"]: row for row in (plan or {}).get("trials", ()) if row.get("fingerprint")}
    pairs = [(row, said[row["fingerprint"]]) for row in rows if row.get("fingerprint") in said]
    pairs = [(row, old) for row, old in pairs if "predicted_seconds" in old]
    if plan is None or not pairs:
        return None
    asked = [(row, old) for row, old in pairs if not old.get("reused")]
    ran = [(row, old) for row, old in asked if _has_ended(row, old)]
    arms: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for row, old in asked:
        names = [str(row["model"]), *(format_arm_name(axis, row[axis]) for axis in varying_axes if axis != "model")]
        arms.setdefault(" · ".join(names), []).append((row, old))
    whole = bool(ran) and len(ran) == len(asked)
    wall = _to_float(plan.get("wall_hours")) * 3600, (_to_float(wall_hours) * 3600 if whole else NAN)
    return {
        "arms": [{"label": label, "planned": len(own)} | _sum_seconds(own) for label, own in arms.items()],
        "all": {"label": "all trials", "planned": len(asked)} | _sum_seconds(asked),
        "device_hours": _sum_device_hours(ran),
        "wall": {"predicted": wall[0], "actual": wall[1], "ratio": _divide_or_nan(wall[1], wall[0])},
        "wall_range": [_to_float(hours) * 3600 for hours in plan.get("wall_hours_range", (None, None))],
        "reused": len(pairs) - len(asked),
        "not_run": len(asked) - len(ran),
        "rests_on": list(plan.get("rests_on", ())),
    }


def _sum_seconds(pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """Over those that ended: how many, predicted and actual seconds, and their ratio."""
    ran = [(row, old) for row, old in pairs if _has_ended(row, old)]
    predicted = math.fsum(sum(_read_predicted_seconds(old)) for _, old in ran) if ran else NAN
    actual = math.fsum(sum(_read_actual_seconds(row, old)) for row, old in ran) if ran else NAN
    return {"ran": len(ran), "predicted": predicted, "actual": actual, "ratio": _divide_or_nan(actual, predicted)}


def _sum_device_hours(finished_pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """GPU-hours, and core-hours of trials without a GPU, of those that ended: all workers train, one evaluates."""
    found = []
    for name in ("GPU-hours", "core-hours"):
        own = [(row, old) for row, old in finished_pairs if bool(row.get("gpus")) == (name == "GPU-hours")]
        if not own:
            continue
        hours = [
            math.fsum(_compute_device_hours(row, *seconds(row, old)) for row, old in own)
            for seconds in (lambda row, old: _read_predicted_seconds(old), _read_actual_seconds)
        ]
        found.append(
            {"name": name, "predicted": hours[0], "actual": hours[1], "ratio": _divide_or_nan(hours[1], hours[0])}
        )
    return found


def _compute_device_hours(row: Mapping[str, Any], train: float, evaluation: float) -> float:
    devices = row.get("gpus") or row.get("cpus") or NAN
    return float(devices) * (train + evaluation / float(row.get("workers") or 1)) / 3600


def _read_predicted_seconds(planned_row: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds of training and of evaluation, as predicted."""
    return _to_float(planned_row.get("predicted_train_seconds")), _to_float(planned_row.get("predicted_eval_seconds"))


def _read_actual_seconds(row: Mapping[str, Any], planned_row: Mapping[str, Any]) -> tuple[float, float]:
    """The same from its record. A trial that was to be evaluated and has no time of it has not ended."""
    metrics = row.get("metrics") or {}
    evaluation = metrics.get("eval_seconds") if _read_predicted_seconds(planned_row)[1] else 0.0
    return _to_float(metrics.get("train_seconds")), _to_float(evaluation)


def _has_ended(row: Mapping[str, Any], planned_row: Mapping[str, Any]) -> bool:
    return row.get("status") in ("COMPLETE", "DIVERGED") and not math.isnan(sum(_read_actual_seconds(row, planned_row)))


def _divide_or_nan(actual: float, predicted: float) -> float:
    return actual / predicted if predicted and not math.isnan(predicted) else NAN


def _to_float(value: Any) -> float:
    return NAN if value is None else float(value)
