"""The store's newest records -> what finished trials took, for `calibration`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.errors import StoreError
from sweeper.spec import HardwareSpec, Runtime
from sweeper.store import Store, read_json
from sweeper.study.costs.calibration import Measured
from sweeper.study.costs.trial import RECOMPUTATION, devices

NEWEST = 300
"""Records that are read: a store of ten thousand must not hold a plan up."""


def read_measured(store: Store, hardware: Iterable[HardwareSpec]) -> list[Measured]:
    """Finished trials of the store, the newest records, on hardware that is known. Unreadable ones are passed over."""
    kinds = list(hardware)
    found = (measured_of(folder, kinds) for folder in _newest(store.root / "trials"))
    return [row for row in found if row is not None]


def measured_of(folder: Path, kinds: Iterable[HardwareSpec]) -> Measured | None:
    """One finished trial; None for a failed one, for one without times, and where its hardware is not known."""
    try:
        record, spec = read_json(folder / "record.json"), read_json(folder / "spec.json")
        runtime, recipe, metrics = Runtime.model_validate(spec["runtime"]), spec["recipe"], record["metrics"]
        kind = hardware_of(record["environment"], runtime, kinds)
        if kind is None or record["status"] == "FAILED":
            return None
        flops = _number(metrics["train_flops"]) * (RECOMPUTATION if recipe["gradient_checkpointing"] else 1)
        row = Measured(
            model=record["model"],
            parameters=int(record["parameters"]),
            hardware=kind,
            precision=recipe["precision"],
            devices=devices(runtime),
            steps=_number(metrics["steps"]),
            flops=flops,
            train_seconds=_number(metrics["train_seconds"]),
        )
        # Of a resumed or branched trial it is not certain which part of its work the seconds are of.
        whole = record.get("resumed_from_step") is None and spec.get("branch") is None
        usable = whole and row.steps > 0 and row.flops > 0 and row.train_seconds > 0
        return _with_evaluation(row, folder) if usable else None
    except (StoreError, KeyError, TypeError, ValueError, OSError):
        return None


def hardware_of(environment: Mapping[str, Any], runtime: Runtime, kinds: Iterable[HardwareSpec]) -> str | None:
    """The kind that a record was made on: by the driver's name for it, else by what its runtime said."""
    if str(environment.get("device", "")).startswith("cpu"):
        return next((kind.name for kind in kinds if kind.kind == "cpu"), None)
    said = str(environment.get("device_name") or "")
    named = (kind.name for kind in kinds if said and said.startswith(tuple(kind.device_names)))
    return next(named, None if said else runtime.hardware)


def _with_evaluation(row: Measured, folder: Path) -> Measured:
    """The newest suite that was asked, where there is one."""
    summaries = sorted((folder / "evaluation").glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    if not summaries:
        return row
    summary = read_json(summaries[-1])
    return replace(row, suite=summaries[-1].parent.name, eval_seconds=_number(summary.get("eval_seconds")))


def _newest(trials: Path) -> list[Path]:
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
    return [trials / name for _, name in sorted(times, reverse=True)[:NEWEST]]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
