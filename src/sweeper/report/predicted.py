"""What was predicted before the first trial started, against what the records say. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeper.statistics import arm_name

NAN = math.nan


def predicted_of(
    rows: Sequence[Mapping[str, Any]],
    plan: Mapping[str, Any] | None,
    varied: Sequence[str],
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
    ran = [(row, old) for row, old in asked if _ended(row, old)]
    arms: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for row, old in asked:
        names = [str(row["model"]), *(arm_name(axis, row[axis]) for axis in varied if axis != "model")]
        arms.setdefault(" · ".join(names), []).append((row, old))
    whole = bool(ran) and len(ran) == len(asked)
    wall = _number(plan.get("wall_hours")) * 3600, (_number(wall_hours) * 3600 if whole else NAN)
    return {
        "arms": [{"label": label, "planned": len(own)} | _sums(own) for label, own in arms.items()],
        "all": {"label": "all trials", "planned": len(asked)} | _sums(asked),
        "device_hours": _device_hours(ran),
        "wall": {"predicted": wall[0], "actual": wall[1], "ratio": _ratio(wall[1], wall[0])},
        "wall_range": [_number(hours) * 3600 for hours in plan.get("wall_hours_range", (None, None))],
        "reused": len(pairs) - len(asked),
        "not_run": len(asked) - len(ran),
        "rests_on": list(plan.get("rests_on", ())),
    }


def _sums(pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """Over those that ended: how many, predicted and actual seconds, and their ratio."""
    ran = [(row, old) for row, old in pairs if _ended(row, old)]
    predicted = math.fsum(sum(_expected(old)) for _, old in ran) if ran else NAN
    actual = math.fsum(sum(_measured(row, old)) for row, old in ran) if ran else NAN
    return {"ran": len(ran), "predicted": predicted, "actual": actual, "ratio": _ratio(actual, predicted)}


def _device_hours(ran: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """GPU-hours, and core-hours of trials without a GPU, of those that ended: all workers train, one evaluates."""
    found = []
    for name in ("GPU-hours", "core-hours"):
        own = [(row, old) for row, old in ran if bool(row.get("gpus")) == (name == "GPU-hours")]
        if not own:
            continue
        hours = [
            math.fsum(_hours(row, *seconds(row, old)) for row, old in own)
            for seconds in (lambda row, old: _expected(old), _measured)
        ]
        found.append({"name": name, "predicted": hours[0], "actual": hours[1], "ratio": _ratio(hours[1], hours[0])})
    return found


def _hours(row: Mapping[str, Any], train: float, evaluation: float) -> float:
    devices = row.get("gpus") or row.get("cpus") or NAN
    return float(devices) * (train + evaluation / float(row.get("workers") or 1)) / 3600


def _expected(old: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds of training and of evaluation, as predicted."""
    return _number(old.get("predicted_train_seconds")), _number(old.get("predicted_eval_seconds"))


def _measured(row: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[float, float]:
    """The same from its record. A trial that was to be evaluated and has no time of it has not ended."""
    metrics = row.get("metrics") or {}
    evaluation = metrics.get("eval_seconds") if _expected(old)[1] else 0.0
    return _number(metrics.get("train_seconds")), _number(evaluation)


def _ended(row: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    return row.get("status") in ("COMPLETE", "DIVERGED") and not math.isnan(sum(_measured(row, old)))


def _ratio(actual: float, predicted: float) -> float:
    return actual / predicted if predicted and not math.isnan(predicted) else NAN


def _number(value: Any) -> float:
    return NAN if value is None else float(value)
