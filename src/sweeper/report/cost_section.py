"""Predicted against actual cost: the plan before the first trial against the records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sweeper.config.axes import format_arm_name
from sweeper.report.cost_document import ArmTimingEntry, DeviceHoursEntry, PredictedCostEntry, TimingEntry
from sweeper.report.document import TrialEntry, get_axis

if TYPE_CHECKING:
    from sweeper.storage import JsonObject

NAN = math.nan


@dataclass(frozen=True)
class _Seconds:
    """Seconds of training and of evaluation."""

    training: float
    evaluation: float

    @property
    def total(self) -> float:
        return self.training + self.evaluation


@dataclass(frozen=True)
class _TrialTiming:
    """One trial: its row in the report, and its predicted and actual seconds."""

    row: TrialEntry
    predicted: _Seconds
    actual: _Seconds
    was_reused: bool

    @property
    def has_ended(self) -> bool:
        """Whether the trial finished and its record has every time that was predicted."""
        return self.row["status"] in ("COMPLETE", "DIVERGED") and not math.isnan(self.actual.total)


def compare_predicted_costs(
    rows: Sequence[TrialEntry],
    plan: JsonObject | None,
    varying_axes: Sequence[str],
    wall_hours: float | None = None,
) -> PredictedCostEntry | None:
    """Compare predicted and actual seconds of each arm and of all trials.

    Only training and evaluation are compared, of trials that were planned in full and have ended; start-up and saving
    are not recorded. Trials that the store already had, and trials that have not ended, are left out and counted. A
    ratio is actual over predicted, NaN where nothing ran.

    Args:
        rows: the trials of the report.
        plan: the study's plan.json, as the first run wrote it.
        varying_axes: the axes that define an arm.
        wall_hours: hours of all runs of the study together.

    Returns:
        None where nothing was predicted.
    """
    timings = _pair_timings(rows, plan)
    if plan is None or not timings:
        return None
    planned = [timing for timing in timings if not timing.was_reused]
    ended = [timing for timing in planned if timing.has_ended]
    arms: dict[str, list[_TrialTiming]] = {}
    for timing in planned:
        values = ((axis, get_axis(timing.row, axis)) for axis in varying_axes if axis != "model")
        label = " · ".join([str(timing.row["model"]), *(format_arm_name(axis, value) for axis, value in values)])
        arms.setdefault(label, []).append(timing)
    actual_wall = 3600 * _to_float(wall_hours) if ended and len(ended) == len(planned) else NAN
    return {
        "arms": [_sum_seconds(label, own) for label, own in arms.items()],
        "all": _sum_seconds("all trials", planned),
        "device_hours": _sum_device_hours(ended),
        "wall": _make_timing(3600 * _to_float(plan.get("wall_hours")), actual_wall),
        "wall_range": [3600 * _to_float(hours) for hours in plan.get("wall_hours_range", (None, None))],
        "reused": len(timings) - len(planned),
        "not_run": len(planned) - len(ended),
        "rests_on": list(plan.get("rests_on", ())),
    }


def _pair_timings(rows: Sequence[TrialEntry], plan: JsonObject | None) -> list[_TrialTiming]:
    """Pair each trial with its row in the plan; trials without a prediction are left out."""
    planned_rows = {row["fingerprint"]: row for row in (plan or {}).get("trials", ()) if row.get("fingerprint")}
    pairs = ((row, planned_rows.get(row.get("fingerprint"))) for row in rows)
    return [_read_timing(row, planned) for row, planned in pairs if planned and "predicted_seconds" in planned]


def _read_timing(row: TrialEntry, planned: Mapping[str, object]) -> _TrialTiming:
    predicted = _Seconds(
        _to_float(planned.get("predicted_train_seconds")), _to_float(planned.get("predicted_eval_seconds"))
    )
    metrics = row.get("metrics") or {}
    # A trial with a predicted evaluation but no evaluation time has not ended.
    evaluation = metrics.get("eval_seconds") if predicted.evaluation else 0.0
    actual = _Seconds(_to_float(metrics.get("train_seconds")), _to_float(evaluation))
    return _TrialTiming(row, predicted, actual, was_reused=bool(planned.get("reused")))


def _sum_seconds(label: str, timings: Sequence[_TrialTiming]) -> ArmTimingEntry:
    """Sum predicted and actual seconds over the trials that ended."""
    ended = [timing for timing in timings if timing.has_ended]
    predicted = math.fsum(timing.predicted.total for timing in ended) if ended else NAN
    actual = math.fsum(timing.actual.total for timing in ended) if ended else NAN
    return {"label": label, "planned": len(timings), "ran": len(ended), **_make_timing(predicted, actual)}


def _sum_device_hours(ended: Sequence[_TrialTiming]) -> list[DeviceHoursEntry]:
    """Sum GPU-hours, and core-hours of trials without a GPU: all workers train, one evaluates."""
    totals: list[DeviceHoursEntry] = []
    for name, has_gpu in (("GPU-hours", True), ("core-hours", False)):
        own = [timing for timing in ended if bool(timing.row.get("gpus")) == has_gpu]
        if own:
            predicted = math.fsum(_compute_device_hours(timing.row, timing.predicted) for timing in own)
            actual = math.fsum(_compute_device_hours(timing.row, timing.actual) for timing in own)
            totals.append({"name": name, **_make_timing(predicted, actual)})
    return totals


def _compute_device_hours(row: TrialEntry, seconds: _Seconds) -> float:
    devices = _to_float(row.get("gpus") or row.get("cpus"))
    n_workers = _to_float(row.get("workers") or 1)
    return devices * (seconds.training + seconds.evaluation / n_workers) / 3600


def _make_timing(predicted: float, actual: float) -> TimingEntry:
    ratio = actual / predicted if predicted and not math.isnan(predicted) else NAN
    return {"predicted": predicted, "actual": actual, "ratio": ratio}


def _to_float(value: object) -> float:
    return NAN if value is None else float(cast(float, value))
