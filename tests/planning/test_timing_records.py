"""Timing records read from a store; unusable trials are skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import Runtime, load_hardware_specs
from sweeper.planning.timing_records import MAX_TIMING_RECORDS, identify_hardware, read_timing_records
from sweeper.storage import Store


def write_finished_trial(store: Path, name: str, **changes: Any) -> None:
    folder = store / "trials" / name
    (folder / "evaluation" / "suite").mkdir(parents=True)
    record = {
        "status": "COMPLETE",
        "model": "m",
        "parameters": 1000,
        "metrics": {"steps": 300.0, "train_flops": 8e10, "train_seconds": 12.0},
        "environment": {"device": "cpu", "host": "h"},
        "resumed_from_step": None,
    }
    runtime = changes.pop("runtime", {"cpus": 1, "gpus": 0})
    recipe = {"precision": "fp32", "gradient_checkpointing": changes.pop("again", False)}
    (folder / "record.json").write_text(json.dumps(record | changes))
    (folder / "spec.json").write_text(json.dumps({"runtime": runtime, "recipe": recipe}))
    (folder / "evaluation" / "suite" / "summary.json").write_text(json.dumps({"eval_seconds": 3.0}))


def test_read_timing_records_skips_unusable_records(tmp_path: Path) -> None:
    write_finished_trial(tmp_path, "a", again=True)
    write_finished_trial(tmp_path, "failed", status="FAILED", metrics={})
    write_finished_trial(tmp_path, "resumed", resumed_from_step=10)
    write_finished_trial(tmp_path, "unknown", metrics={"steps": 300.0, "train_flops": None, "train_seconds": 12.0})
    a10g = {"device": "cuda:0", "device_name": "NVIDIA A10G"}
    write_finished_trial(tmp_path, "gpu", environment=a10g, runtime={"gpus": 0.5})
    write_finished_trial(tmp_path, "elsewhere", environment={"device": "cuda:0", "device_name": "an unlisted GPU"})
    (tmp_path / "trials" / "torn").mkdir()
    (tmp_path / "trials" / "torn" / "record.json").write_text("{")
    rows = {record.hardware: record for record in read_timing_records(Store(tmp_path), load_hardware_specs().values())}
    assert set(rows) == {"cpu", "a10g"}
    assert rows["cpu"].flops == pytest.approx(8e10 * 4 / 3)
    assert (rows["cpu"].suite, rows["cpu"].eval_seconds) == ("suite", 3.0)
    assert rows["a10g"].devices == 0.5
    assert read_timing_records(Store(tmp_path / "none"), load_hardware_specs().values()) == []


def test_read_timing_records_reads_only_the_newest(tmp_path: Path) -> None:
    for number in range(MAX_TIMING_RECORDS + 5):
        write_finished_trial(tmp_path, f"{number:04d}")
    assert len(read_timing_records(Store(tmp_path), load_hardware_specs().values())) == MAX_TIMING_RECORDS


def test_identify_hardware_prefers_the_device_name_of_the_driver() -> None:
    kinds, planned = list(load_hardware_specs().values()), Runtime(gpus=1, hardware="h100")
    assert identify_hardware({"device": "cuda:0", "device_name": "NVIDIA H200"}, planned, kinds) == "h200"
    assert identify_hardware({"device": "cuda:0"}, planned, kinds) == "h100"
    assert identify_hardware({"device": "cuda:0", "device_name": "NVIDIA X"}, planned, kinds) is None
    assert identify_hardware({"device": "cpu"}, planned, kinds) == "cpu"
