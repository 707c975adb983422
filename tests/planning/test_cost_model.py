"""Costs of one trial: hand-computed references, and what must hold of any figure with a range."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sweeper.config import UNKNOWN_ESTIMATE, ZERO_ESTIMATE, Estimate, HardwareSpec, Runtime, load_hardware_specs
from sweeper.planning.cost_model import (
    EvaluationLoad,
    Workload,
    compute_disk_usage,
    compute_hardware_flops,
    compute_trial_cost,
    count_devices,
    estimate_evaluation_seconds,
    estimate_training_seconds,
    sum_costs,
)

EXACT = Estimate(low=0.25, expected=0.25, high=0.25)
GPU = HardwareSpec(
    name="g",
    memory_gib=10,
    tflops={"fp16": 100, "fp32": 50},
    bandwidth_gb_s=1000,
    power_watts=200,
    utilisation=EXACT,
    step_seconds=Estimate(low=0.1, expected=0.1, high=0.1),
    startup_seconds=36,
    usd_per_hour=2,
    price_date="2026-01-01",
    source="a test",
)
WIDE = GPU.model_copy(
    update={
        "utilisation": Estimate(low=0.1, expected=0.25, high=0.5),
        "step_seconds": Estimate(low=0.05, expected=0.1, high=0.3),
    }
)
WORK = Workload(
    steps=100,
    tokens=1e6,
    train_flops=9e16,
    parameters=1e8,
    mean_length=500,
    forward_flops_per_token=2e8,
    kv_cache_bytes_per_token=1e4,
)
LOAD = EvaluationLoad(queries=100, batch_size=10, max_steps=5, max_new_tokens=40)


def estimate_training(**changes: float | str) -> Estimate:
    arguments = {"flops": 9e16, "steps": 100.0, "precision": "fp16", "devices": 1.0} | changes
    return estimate_training_seconds(
        arguments.pop("flops"), arguments.pop("steps"), changes.get("on", GPU), **arguments
    )  # type: ignore[arg-type]


def test_estimate_training_seconds_adds_overhead_and_arithmetic() -> None:
    assert estimate_training().expected == pytest.approx(100 * 0.1 + 9e16 / (100e12 * 0.25)) == pytest.approx(3610)
    assert estimate_training(precision="fp32").expected == pytest.approx(10 + 7200)
    assert estimate_training(devices=4.0).expected == pytest.approx(10 + 900)
    assert estimate_training(devices=0.5).expected == pytest.approx(10 + 7200)  # halves together do no more than one
    assert compute_hardware_flops(WORK, gradient_checkpointing=True) == pytest.approx(12e16)
    assert math.isnan(estimate_training(precision="bf16").expected)
    assert math.isnan(estimate_training(flops=math.nan).expected)


def test_estimate_training_seconds_uses_both_ends_of_assumed_ranges() -> None:
    estimate = estimate_training_seconds(9e16, 100, WIDE, precision="fp16", devices=1)
    assert estimate == Estimate(pytest.approx(5 + 1800), pytest.approx(10 + 3600), pytest.approx(30 + 9000))  # type: ignore[arg-type]


def test_estimate_evaluation_seconds_reads_all_weights_per_decoding_step() -> None:
    """10 batches x 5 x 40 tokens x 15 % = 300 steps, each 0.4 GB of weights and 10 x 500 x 10 kB of cache at 700 GB/s
    (arithmetic is shorter), and a third of 0.1 s; prompts: 100 x 500 tokens x 0.2 GFLOP at 12.5 TFLOPS."""
    memory = (4e8 + 10 * 500 * 1e4) / (1000e9 * 0.7)
    assert memory > 10 * 2e8 / 12.5e12
    expected = 300 * (memory + 0.1 / 3) + 100 * 500 * 2e8 / 12.5e12
    assert estimate_evaluation_seconds(WORK, LOAD, GPU, 1).expected == pytest.approx(expected)
    slow = GPU.model_copy(update={"tflops": {"fp32": 0.1}})
    bound = 300 * (10 * 2e8 / 0.025e12 + 0.1 / 3) + 100 * 500 * 2e8 / 0.025e12
    assert estimate_evaluation_seconds(WORK, LOAD, slow, 1).expected == pytest.approx(bound)


def test_compute_trial_cost_trains_on_all_workers_and_evaluates_on_one() -> None:
    train, evaluation = Estimate(3600, 3600, 3600), Estimate(1800, 1800, 1800)
    cost = compute_trial_cost(Runtime(workers=4, gpus=1), GPU, train, evaluation)
    start = (36 + 23) / 3600  # four workers are started anew
    assert cost.gpu_hours.expected == pytest.approx(4 * (1 + start) + 0.5)
    assert cost.usd.expected == pytest.approx(2 * cost.gpu_hours.expected)
    assert cost.kwh.expected == pytest.approx(0.2 * 0.75 * cost.gpu_hours.expected)
    assert cost.cpu_hours == ZERO_ESTIMATE
    assert cost.seconds.expected == pytest.approx(3600 + 59 + 1800)
    assert (cost.training, cost.evaluation) == (train, evaluation)
    assert compute_trial_cost(Runtime(gpus=0.5), GPU, train, ZERO_ESTIMATE).gpu_hours.expected == pytest.approx(
        0.5 * (1 + 0.01)
    )


def test_compute_trial_cost_without_gpus_counts_core_hours() -> None:
    cpu = load_hardware_specs()["cpu"]
    cost = compute_trial_cost(Runtime(cpus=2), cpu, Estimate(3600, 3600, 3600), ZERO_ESTIMATE)
    assert cost.gpu_hours == ZERO_ESTIMATE
    assert cost.cpu_hours.expected == pytest.approx(2 * (3600 + cpu.startup_seconds) / 3600)
    assert math.isnan(cost.usd.expected)
    assert count_devices(Runtime(cpus=2.5)) == 2
    assert count_devices(Runtime(cpus=0.5)) == 1
    assert count_devices(Runtime(workers=2, gpus=1, cpus=8)) == 2


def test_compute_trial_cost_of_nothing_is_zero_without_a_price() -> None:
    for kind in (GPU, load_hardware_specs()["cpu"]):
        cost = compute_trial_cost(Runtime(gpus=1), kind, ZERO_ESTIMATE, ZERO_ESTIMATE)
        assert cost.seconds == cost.gpu_hours == cost.usd == cost.kwh == ZERO_ESTIMATE


def test_sum_costs_is_unknown_if_a_cost_is() -> None:
    known = compute_trial_cost(Runtime(gpus=1), GPU, Estimate(1, 2, 3), ZERO_ESTIMATE)
    assert math.isnan(
        sum_costs([known, compute_trial_cost(Runtime(gpus=1), GPU, UNKNOWN_ESTIMATE, ZERO_ESTIMATE)]).usd.expected
    )
    assert sum_costs([known, known]).usd.expected == pytest.approx(2 * known.usd.expected)
    assert sum_costs([]).usd == ZERO_ESTIMATE


@given(
    flops=st.floats(0, 1e22),
    steps=st.integers(0, 10**6),
    workers=st.integers(1, 64),
    evaluated=st.floats(0, 1e6),
)
def test_estimated_ranges_are_ordered_and_fall_with_workers(
    flops: float, steps: int, workers: int, evaluated: float
) -> None:
    few, more = (
        estimate_training_seconds(flops, steps, WIDE, precision="fp16", devices=count)
        for count in (workers, workers + 1)
    )
    assert few.low <= few.expected <= few.high
    assert more.expected <= few.expected
    cost = compute_trial_cost(Runtime(workers=workers, gpus=1), WIDE, few, Estimate(evaluated, evaluated, evaluated))
    for amount in (cost.seconds, cost.gpu_hours, cost.usd, cost.kwh):
        assert 0 <= amount.low <= amount.expected <= amount.high


def test_estimate_training_seconds_of_a_toy_model_matches_a_measurement() -> None:
    """139 k parameters, 1,125 steps of 16 rows of 88 tokens took 47 s: within the range, and within a factor of two."""
    flops = 6 * 139e3 * 1125 * 16 * 88
    estimate = estimate_training_seconds(flops, 1125, load_hardware_specs()["cpu"], precision="fp32", devices=1)
    assert estimate.low < 47 < estimate.high
    assert 47 / 2 < estimate.expected < 47 * 2


def test_compute_disk_usage_follows_the_retention_policy() -> None:
    usage = partial(compute_disk_usage, 1e6, optimizer_bytes=8e6)
    last, best = usage("last", evaluated=True), usage("best", evaluated=True)
    assert last.checkpoint_bytes == 12e6
    assert last.peak_bytes == 36e6  # two stay while the third is written
    assert (last.final_bytes, best.final_bytes) == (4e6, 16e6)
    assert best.peak_bytes == 48e6
    assert usage("none-after-evaluation", evaluated=True).final_bytes == 0
    assert usage("none-after-evaluation", evaluated=False).final_bytes == 4e6


@pytest.mark.parametrize("name", sorted(load_hardware_specs()))
def test_shipped_hardware_cites_sources_of_its_figures(name: str) -> None:
    kind = load_hardware_specs()[name]
    assert len(kind.source) > 40
    assert (kind.kind == "cpu") == (kind.usd_per_hour is None)
    assert 0 < kind.utilisation.low < kind.utilisation.expected < kind.utilisation.high <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_gib": None},
        {"price_date": None},
        {"utilisation": {"low": 0.1, "expected": 0.5, "high": 1.5}},
        {"step_seconds": {"low": 2, "expected": 1, "high": 3}},
    ],
)
def test_hardware_spec_refuses_contradictions(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HardwareSpec.model_validate(GPU.model_dump() | wrong)
