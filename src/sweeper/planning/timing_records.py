"""Times of finished trials, read from the newest records of a store, for `calibration`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sweeper.config import HardwareSpec, Runtime
from sweeper.errors import StoreError
from sweeper.planning.calibration import TimingRecord
from sweeper.planning.cost_model import RECOMPUTATION_FACTOR, count_devices
from sweeper.storage import Store, read_json

MAX_TIMING_RECORDS = 300
"""Number of records read at most: a store with ten thousand records must not delay a plan."""


def read_timing_records(store: Store, hardware: Iterable[HardwareSpec]) -> list[TimingRecord]:
    """Read the times of the newest finished trials on known hardware. Unreadable records are skipped."""
    kinds = list(hardware)
    records = (read_trial_timing(folder, kinds) for folder in _list_newest_trials(store.root / "trials"))
    return [row for row in records if row is not None]


def read_trial_timing(folder: Path, hardware: Iterable[HardwareSpec]) -> TimingRecord | None:
    """Read one trial; None if it failed, has no times, or ran on unknown hardware."""
    try:
        record, spec = read_json(folder / "record.json"), read_json(folder / "spec.json")
        runtime, recipe, metrics = Runtime.model_validate(spec["runtime"]), spec["recipe"], record["metrics"]
        kind = identify_hardware(record["environment"], runtime, hardware)
        if kind is None or record["status"] == "FAILED":
            return None
        flops = _to_float(metrics["train_flops"]) * (RECOMPUTATION_FACTOR if recipe["gradient_checkpointing"] else 1)
        row = TimingRecord(
            model=record["model"],
            parameters=int(record["parameters"]),
            hardware=kind,
            precision=recipe["precision"],
            devices=count_devices(runtime),
            steps=_to_float(metrics["steps"]),
            flops=flops,
            train_seconds=_to_float(metrics["train_seconds"]),
        )
        # The seconds of a resumed or branched trial may cover a part of its work only.
        whole = record.get("resumed_from_step") is None and spec.get("branch") is None
        usable = whole and row.steps > 0 and row.flops > 0 and row.train_seconds > 0
        return _add_evaluation_timing(row, folder) if usable else None
    except (StoreError, KeyError, TypeError, ValueError, OSError):
        return None


def identify_hardware(
    environment: Mapping[str, object], runtime: Runtime, hardware: Iterable[HardwareSpec]
) -> str | None:
    """Return the kind of hardware of a record: by the device name of the driver, or else by its runtime."""
    if str(environment.get("device", "")).startswith("cpu"):
        return next((kind.name for kind in hardware if kind.kind == "cpu"), None)
    device = str(environment.get("device_name") or "")
    matches = (kind.name for kind in hardware if device and device.startswith(tuple(kind.device_names)))
    return next(matches, None if device else runtime.hardware)


def _add_evaluation_timing(record: TimingRecord, folder: Path) -> TimingRecord:
    """Add the time of the newest evaluation, if there is one."""
    summaries = sorted((folder / "evaluation").glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    if not summaries:
        return record
    summary = read_json(summaries[-1])
    return replace(record, suite=summaries[-1].parent.name, eval_seconds=_to_float(summary.get("eval_seconds")))


def _list_newest_trials(trials: Path) -> list[Path]:
    """List the folders with the newest records, newest first."""
    if not trials.is_dir():
        return []
    times: list[tuple[float, str]] = []
    with os.scandir(trials) as entries:
        for entry in entries:
            try:
                times.append(((trials / entry.name / "record.json").stat().st_mtime, entry.name))
            except OSError:
                continue
    return [trials / name for _, name in sorted(times, reverse=True)[:MAX_TIMING_RECORDS]]


def _to_float(value: float | None) -> float:
    return math.nan if value is None else float(value)
