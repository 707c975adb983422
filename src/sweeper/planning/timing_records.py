"""The store's newest records -> what finished trials took, for `calibration`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.config import HardwareSpec, Runtime
from sweeper.errors import StoreError
from sweeper.planning.calibration import TimingRecord
from sweeper.planning.cost_model import RECOMPUTATION_FACTOR, count_devices
from sweeper.storage import Store, read_json

MAX_TIMING_RECORDS = 300
"""Records that are read: a store of ten thousand must not hold a plan up."""


def read_timing_records(store: Store, hardware: Iterable[HardwareSpec]) -> list[TimingRecord]:
    """Finished trials of the store, the newest records, on hardware that is known. Unreadable ones are passed over."""
    kinds = list(hardware)
    found = (read_trial_timing(folder, kinds) for folder in _list_newest_trials(store.root / "trials"))
    return [row for row in found if row is not None]


def read_trial_timing(folder: Path, hardware: Iterable[HardwareSpec]) -> TimingRecord | None:
    """One finished trial; None for a failed one, for one without times, and where its hardware is not known."""
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
        # Of a resumed or branched trial it is not certain which part of its work the seconds are of.
        whole = record.get("resumed_from_step") is None and spec.get("branch") is None
        usable = whole and row.steps > 0 and row.flops > 0 and row.train_seconds > 0
        return _add_evaluation_timing(row, folder) if usable else None
    except (StoreError, KeyError, TypeError, ValueError, OSError):
        return None


def identify_hardware(environment: Mapping[str, Any], runtime: Runtime, hardware: Iterable[HardwareSpec]) -> str | None:
    """The kind that a record was made on: by the driver's name for it, else by what its runtime said."""
    if str(environment.get("device", "")).startswith("cpu"):
        return next((kind.name for kind in hardware if kind.kind == "cpu"), None)
    said = str(environment.get("device_name") or "")
    named = (kind.name for kind in hardware if said and said.startswith(tuple(kind.device_names)))
    return next(named, None if said else runtime.hardware)


def _add_evaluation_timing(record: TimingRecord, folder: Path) -> TimingRecord:
    """The newest suite that was asked, where there is one."""
    summaries = sorted((folder / "evaluation").glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    if not summaries:
        return record
    summary = read_json(summaries[-1])
    return replace(record, suite=summaries[-1].parent.name, eval_seconds=_to_float(summary.get("eval_seconds")))


def _list_newest_trials(trials: Path) -> list[Path]:
    """Folders with a record, the newest first, at most NEWEST."""
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


def _to_float(value: Any) -> float:
    return math.nan if value is None else float(value)
