"""What finished trials say of a machine: exact fits, nearest models, ranges that shrink."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import Runtime, load_hardware_specs
from sweeper.planning.calibration import (
    FEW_TRIALS_FACTOR,
    MIN_SPREAD_FACTOR,
    OTHER_MODEL_FACTOR,
    HardwareRates,
    TimingRatio,
    TimingRecord,
    compute_timing_ratios,
    estimate_calibration_factor,
    fit_rates,
)
from sweeper.planning.timing_records import MAX_TIMING_RECORDS, identify_hardware, read_timing_records
from sweeper.storage import Store

TRUTH = HardwareRates(step_seconds=0.02, flop_seconds=4e-11)
PRIOR = HardwareRates(1.0, 1.0)


def row(steps: float, flops: float, seconds: float | None = None, model: str = "m") -> TimingRecord:
    found = TimingRecord(model, 1000, "cpu", "fp32", 1, steps, flops, 0.0)
    return dataclasses.replace(found, train_seconds=TRUTH.predict_seconds(found) if seconds is None else seconds)


def test_two_sizes_tell_steps_from_arithmetic() -> None:
    rows = [row(300, 8e10), row(300, 2.4e11), row(300, 4.6e11), row(900, 2.4e11)]
    found = fit_rates(rows, PRIOR)
    assert found.step_seconds == pytest.approx(0.02)
    assert found.flop_seconds == pytest.approx(4e-11)
    assert all(ratio.ratio == pytest.approx(1) for ratio in compute_timing_ratios(rows, found))


def test_work_alike_per_step_leaves_the_prior() -> None:
    assert fit_rates([row(300, 8e10), row(900, 24e10)], PRIOR) == PRIOR
    assert fit_rates([], PRIOR) == PRIOR


def test_rates_are_never_negative() -> None:
    slow_small = [row(100, 1e10, 30.0), row(100, 1e12, 10.0)]
    assert fit_rates(slow_small, PRIOR).flop_seconds == 0
    assert fit_rates(slow_small, PRIOR).step_seconds > 0
    no_overhead = [row(100, 1e10, 0.1), row(100, 1e12, 30.0)]
    assert fit_rates(no_overhead, PRIOR).step_seconds == 0


def test_a_factor_is_the_geometric_mean_and_shrinks_with_trials() -> None:
    two = estimate_calibration_factor("m", 1000, [TimingRatio("m", 1000, 0.5), TimingRatio("m", 1000, 2.0)])
    assert two is not None
    assert (two.expected, two.high, two.trials) == (pytest.approx(1), pytest.approx(FEW_TRIALS_FACTOR), 2)
    noise = random.Random(0)
    many = [TimingRatio("m", 1000, 1.5 * math.exp(noise.gauss(0, 0.06))) for _ in range(40)]
    found, exact = (
        estimate_calibration_factor("m", 1000, many),
        estimate_calibration_factor("m", 1000, [TimingRatio("m", 1000, 1.5)] * 3),
    )
    assert found is not None
    assert exact is not None
    assert found.expected == pytest.approx(1.5, rel=0.05)
    assert 1.09 < found.high / found.expected < FEW_TRIALS_FACTOR
    assert exact.high / exact.expected == pytest.approx(MIN_SPREAD_FACTOR), (
        "three that agree are not taken for certainty"
    )


def test_trials_of_the_same_work_count_before_the_others_of_their_model() -> None:
    ratios = [
        TimingRatio("m", 1000, 4.0, flops=1e9),
        TimingRatio("m", 1000, 1.0, flops=1e12),
        TimingRatio("m", 1000, 1.0, flops=1e12),
    ]
    alike, between = (
        estimate_calibration_factor("m", 1000, ratios, flops=1.05e9),
        estimate_calibration_factor("m", 1000, ratios, flops=1e10),
    )
    assert alike is not None
    assert between is not None
    assert (alike.expected, alike.trials) == (pytest.approx(4), 1)
    assert (between.expected, between.trials) == (pytest.approx(4 ** (1 / 3)), 3)


def test_another_model_is_the_nearest_in_size_and_less_sure() -> None:
    ratios = [TimingRatio("small", 1_000, 3.0), TimingRatio("large", 100_000, 2.0)]
    found = estimate_calibration_factor("middle", 50_000, ratios)
    assert found is not None
    assert (found.model, found.expected) == ("large", pytest.approx(2))
    assert found.high / found.expected == pytest.approx(OTHER_MODEL_FACTOR)
    assert estimate_calibration_factor("middle", 50_000, []) is None
    assert estimate_calibration_factor("middle", None, ratios) is None


def test_an_interval_holds_the_next_trial_in_most_cases() -> None:
    noise, held = random.Random(1), 0
    for _ in range(400):
        drawn = [math.exp(noise.gauss(0, 0.2)) for _ in range(9)]
        found = estimate_calibration_factor("m", 1, [TimingRatio("m", 1, ratio) for ratio in drawn[:8]])
        assert found is not None
        held += found.low <= drawn[8] <= found.high
    assert 0.88 < held / 400 < 0.98


def finished(store: Path, name: str, **changes: Any) -> None:
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


def test_records_become_rows_and_what_says_nothing_is_passed_over(tmp_path: Path) -> None:
    finished(tmp_path, "a", again=True)
    finished(tmp_path, "failed", status="FAILED", metrics={})
    finished(tmp_path, "resumed", resumed_from_step=10)
    finished(tmp_path, "unknown", metrics={"steps": 300.0, "train_flops": None, "train_seconds": 12.0})
    finished(tmp_path, "gpu", environment={"device": "cuda:0", "device_name": "NVIDIA A10G"}, runtime={"gpus": 0.5})
    finished(tmp_path, "elsewhere", environment={"device": "cuda:0", "device_name": "a GPU that nobody described"})
    (tmp_path / "trials" / "torn").mkdir()
    (tmp_path / "trials" / "torn" / "record.json").write_text("{")
    rows = {found.hardware: found for found in read_timing_records(Store(tmp_path), load_hardware_specs().values())}
    assert set(rows) == {"cpu", "a10g"}
    assert rows["cpu"].flops == pytest.approx(8e10 * 4 / 3)
    assert (rows["cpu"].suite, rows["cpu"].eval_seconds) == ("suite", 3.0)
    assert rows["a10g"].devices == 0.5
    assert read_timing_records(Store(tmp_path / "none"), load_hardware_specs().values()) == []


def test_only_the_newest_records_of_a_large_store_are_read(tmp_path: Path) -> None:
    for number in range(MAX_TIMING_RECORDS + 5):
        finished(tmp_path, f"{number:04d}")
    assert len(read_timing_records(Store(tmp_path), load_hardware_specs().values())) == MAX_TIMING_RECORDS


def test_hardware_is_what_the_driver_says_before_what_was_planned() -> None:
    kinds, planned = list(load_hardware_specs().values()), Runtime(gpus=1, hardware="h100")
    assert identify_hardware({"device": "cuda:0", "device_name": "NVIDIA H200"}, planned, kinds) == "h200"
    assert identify_hardware({"device": "cuda:0"}, planned, kinds) == "h100"
    assert identify_hardware({"device": "cuda:0", "device_name": "NVIDIA X"}, planned, kinds) is None
    assert identify_hardware({"device": "cpu"}, planned, kinds) == "cpu"
