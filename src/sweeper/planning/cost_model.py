"""Cost of one trial: seconds, GPU-hours, money, energy and bytes, from its workload and its hardware. Pure.

Every figure is a range. Assumed quantities are constants here or fields of `HardwareSpec`; measurements of finished
trials replace them (`sweeper.planning.calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

from sweeper.config import UNKNOWN_ESTIMATE, ZERO_ESTIMATE, Estimate, HardwareSpec, Runtime, sum_estimates
from sweeper.planning.calibration import CalibrationFactor, HardwareRates
from sweeper.storage import JsonObject
from sweeper.training.retention import CHECKPOINTS_WHILE_TRAINING, CheckpointPolicy, get_retention_policy

Precision = Literal["fp32", "fp16", "bf16"]
"""Precisions of a recipe."""
RECOMPUTATION_FACTOR = 4 / 3
"""Hardware FLOPs / model FLOPs: forward passes, a third of training, run twice with gradient checkpointing."""
FORWARD_SHARE = 1 / 3
"""Overhead of a forward pass as a share of that of a whole step (forward, backward, update). Assumed."""
GENERATED_SHARE = Estimate(low=0.03, expected=0.15, high=1.0)
"""Share of the tokens that a suite allows (steps x new tokens) generated until the last episode of a batch ends.
Assumed; episodes of the synthetic tool environment end after 14 %."""
BANDWIDTH_UTILIZATION = Estimate(low=0.4, expected=0.7, high=0.9)
"""Share of the peak memory bandwidth that generation reaches. Assumed, not measured."""
POWER_UTILIZATION = Estimate(low=0.5, expected=0.75, high=1.0)
"""Share of its maximum power that a board draws while a trial runs. Assumed, not measured."""
MULTI_WORKER_START_SECONDS = 23
"""Start of the workers of a several-worker trial; measured once, on two CPU cores."""
FLOAT32_BYTES = 4
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Workload:
    """Work of a trial. NaN if unknown."""

    steps: float
    """Optimizer steps."""
    tokens: float
    """Tokens trained on; repetitions count, padding does not."""
    train_flops: float
    """Model FLOPs, forward and backward (`sweeper.models.flops`)."""
    parameters: float
    """Parameters of the model."""
    mean_length: float
    """Mean tokens of a row. Prompts of the evaluation are assumed to be as long."""
    forward_flops_per_token: float
    """FLOPs of a forward pass per token, in rows of that length."""
    kv_cache_bytes_per_token: float
    """Bytes of one token in the KV cache, float32."""
    is_assumed: bool = False
    """Whether the size of the data is assumed (`data.assumed`), because they are not prepared."""


@dataclass(frozen=True)
class EvaluationLoad:
    """Number of queries of a suite, and the limits of their evaluation."""

    queries: int
    batch_size: int
    max_steps: int
    max_new_tokens: int


@dataclass(frozen=True)
class Remaining:
    """Stages of a trial whose results the store does not have."""

    needs_training: bool = True
    needs_evaluation: bool = True

    @property
    def is_nothing(self) -> bool:
        """Whether the whole trial is reused."""
        return not self.needs_training and not self.needs_evaluation


@dataclass(frozen=True)
class Cost:
    """Cost of one trial, or the sum over several."""

    seconds: Estimate
    """From the start of the trial to its end."""
    training: Estimate
    """Seconds of training as in the record: without start-up and saving."""
    evaluation: Estimate
    """Seconds of evaluation as in the record."""
    gpu_hours: Estimate
    cpu_hours: Estimate
    usd: Estimate
    kwh: Estimate

    def to_document(self) -> JsonObject:
        """Return the cost as `plan --json` prints it: expected values, with `low` and `high` beside them."""
        names = ("gpu_hours", "cpu_hours", "usd")
        ends = {end: {name: getattr(getattr(self, name), end) for name in names} for end in ("low", "expected", "high")}
        return {**ends["expected"], "low": ends["low"], "high": ends["high"]}


@dataclass(frozen=True)
class DiskUsage:
    """Disk space of a trial in the store."""

    checkpoint_bytes: float
    """One checkpoint: weights and the optimizer's states."""
    peak_bytes: float
    """Maximum at one time: retained checkpoints, the one being written and, with policy `best`, the best one."""
    final_bytes: float
    """Bytes that remain when the trial has ended."""


@dataclass(frozen=True)
class TrialEstimate:
    """Estimated cost of a planned trial."""

    workload: Workload
    """Work of the whole trial, including stages that are reused."""
    remaining: Remaining
    cost: Cost
    """Cost of the remaining stages; `ZERO_COST` if the whole trial is reused."""
    disk_usage: DiskUsage
    hardware: str | None
    """Hardware that the estimate is for; None if unknown."""
    basis: str
    """What the training time is based on."""

    def to_row(self) -> JsonObject:
        """Return the columns that `plan --json` adds to the row of the trial."""
        cost = self.cost
        return {
            "planned_tokens": self.workload.tokens,
            "predicted_seconds": cost.seconds.expected,
            "predicted_seconds_low": cost.seconds.low,
            "predicted_seconds_high": cost.seconds.high,
            "predicted_train_seconds": cost.training.expected,
            "predicted_eval_seconds": cost.evaluation.expected,
            "predicted_gpu_hours": cost.gpu_hours.expected,
            "predicted_cpu_hours": cost.cpu_hours.expected,
            "predicted_usd": cost.usd.expected,
            "predicted_on": self.hardware,
            "predicted_by": self.basis,
            "checkpoint_bytes": self.disk_usage.checkpoint_bytes,
            "kept_bytes": self.disk_usage.final_bytes,
            "reused": "whole" if self.remaining.is_nothing else "training" if not self.remaining.needs_training else "",
        }


@dataclass(frozen=True)
class PlanEstimate:
    """Estimated cost of what is left to do of a plan. NaN if unknown."""

    cost: Cost
    wall_hours: Estimate
    steps: float
    """Optimizer steps."""
    tokens: float
    """Tokens trained on; repetitions count, padding does not."""
    flops: float
    """Training FLOPs of the models, forward and backward."""
    reused: int
    """Trials that the store has."""
    reused_training: int
    """Trained trials that still have to be evaluated."""
    memory_gib_peak: float
    """Predicted memory of a worker on its GPU, GiB; of the largest trial."""
    checkpoint_bytes: float
    """Size of the largest checkpoint."""
    disk_bytes_while_training: float
    """Bytes that trials write at the same time, at most."""
    disk_bytes_final: float
    """Bytes that remain when all trials have ended."""
    basis: tuple[str, ...]
    """What the figures are based on, one sentence each."""
    unknown: tuple[str, ...]
    """Why figures are unknown, one sentence each."""

    def get_limited_figures(self) -> dict[str, float]:
        """Return the expected figures by the names of a budget's limits."""
        return {
            "gpu_hours": self.cost.gpu_hours.expected,
            "cpu_hours": self.cost.cpu_hours.expected,
            "usd": self.cost.usd.expected,
            "wall_hours": self.wall_hours.expected,
        }

    def to_document(self) -> JsonObject:
        """Return the estimate as `plan --json` prints it."""
        return {
            "cost": self.cost.to_document(),
            "wall_hours": self.wall_hours.expected,
            "wall_hours_range": [self.wall_hours.low, self.wall_hours.high],
            "steps": self.steps,
            "tokens": self.tokens,
            "flops": self.flops,
            "reused": self.reused,
            "reused_training": self.reused_training,
            "energy_kwh": self.cost.kwh.expected,
            "energy_kwh_range": [self.cost.kwh.low, self.cost.kwh.high],
            "memory_gib_peak": self.memory_gib_peak,
            "checkpoint_bytes": self.checkpoint_bytes,
            "disk_bytes_while_training": self.disk_bytes_while_training,
            "disk_bytes_kept": self.disk_bytes_final,
            "rests_on": list(self.basis),
            "unknown": list(self.unknown),
        }


ZERO_COST = Cost(*[ZERO_ESTIMATE] * 7)
UNKNOWN_COST = Cost(*[UNKNOWN_ESTIMATE] * 7)


def count_devices(runtime: Runtime) -> float:
    """Count the GPUs of all workers together; without GPUs, the cores that PyTorch uses."""
    return runtime.workers * (runtime.gpus or max(1, math.floor(runtime.cpus)))


def compute_hardware_flops(workload: Workload, *, gradient_checkpointing: bool) -> float:
    """Compute the training FLOPs of the hardware: model FLOPs plus recomputation."""
    return workload.train_flops * (RECOMPUTATION_FACTOR if gradient_checkpointing else 1)


def estimate_training_seconds(
    flops: float, steps: float, hardware: HardwareSpec, *, precision: Precision, devices: float
) -> Estimate:
    """Estimate training time: steps x overhead of a step + FLOPs / (devices x peak x utilization).

    The second term is FLOPs utilization (Chowdhery et al. 2022, PaLM, section 4.1) with recomputation counted as work
    (`compute_hardware_flops`). Small models are bound by the first term.

    Args:
        flops: training FLOPs of the hardware.
        steps: optimizer steps.
        hardware: the GPU or CPU.
        precision: precision of the recipe.
        devices: GPUs or cores; a fraction of a GPU has that fraction of its speed.

    Returns:
        Seconds; NaN if the hardware lists no peak of this precision.
    """
    peak = get_peak_flops(hardware, precision)

    def compute_seconds(utilization: float, step_seconds: float) -> float:
        return steps * step_seconds + flops / (devices * peak * utilization)

    share, step = hardware.utilisation, hardware.step_seconds
    return Estimate(
        low=compute_seconds(share.high, step.low),
        expected=compute_seconds(share.expected, step.expected),
        high=compute_seconds(share.low, step.high),
    )


def calibrate_training_seconds(
    flops: float, steps: float, rates: HardwareRates, factor: CalibrationFactor, devices: float
) -> Estimate:
    """Estimate training time from finished trials: the rates of their hardware, times the factor of the model."""
    seconds = rates.step_seconds * steps + rates.flop_seconds * flops / devices
    return Estimate(seconds * factor.low, seconds * factor.expected, seconds * factor.high)


def estimate_evaluation_seconds(
    workload: Workload, load: EvaluationLoad, hardware: HardwareSpec, devices: float
) -> Estimate:
    """Estimate the time to evaluate a suite in float32 on one worker.

    A decoding step takes the longer of reading all weights and the KV cache of the batch from memory once, and of 2
    FLOPs per weight and row (Pope et al. 2022, Efficiently Scaling Transformer Inference, section 2), plus the overhead
    of a forward pass. Prefilling is bound by FLOPs and happens once per query: the KV cache is reused. Tool servers and
    judges behind a network are not included.

    Returns:
        Seconds; NaN if a quantity is unknown.
    """
    peak = get_peak_flops(hardware, "fp32")
    rows = min(load.batch_size, load.queries)
    read_bytes = workload.parameters * FLOAT32_BYTES + rows * workload.mean_length * workload.kv_cache_bytes_per_token
    batches = math.ceil(load.queries / load.batch_size)
    max_decoding_steps = batches * load.max_steps * load.max_new_tokens

    def compute_seconds(generated: float, bandwidth: float, utilization: float, step_seconds: float) -> float:
        memory = read_bytes / (devices * hardware.bandwidth_gb_s * 1e9 * bandwidth)
        arithmetic = workload.forward_flops_per_token / (devices * peak * utilization)
        decoding = max_decoding_steps * generated * (max(memory, rows * arithmetic) + FORWARD_SHARE * step_seconds)
        return decoding + load.queries * workload.mean_length * arithmetic

    share, step, bandwidth = hardware.utilisation, hardware.step_seconds, BANDWIDTH_UTILIZATION
    return Estimate(
        low=compute_seconds(GENERATED_SHARE.low, bandwidth.high, share.high, step.low),
        expected=compute_seconds(GENERATED_SHARE.expected, bandwidth.expected, share.expected, step.expected),
        high=compute_seconds(GENERATED_SHARE.high, bandwidth.low, share.low, step.high),
    )


def compute_trial_cost(runtime: Runtime, hardware: HardwareSpec, training: Estimate, evaluation: Estimate) -> Cost:
    """Compute the cost of one trial, including start-up and saving. All workers train, one evaluates.

    Args:
        runtime: resources of the trial.
        hardware: the GPU or CPU.
        training: seconds of training; `ZERO_ESTIMATE`: it does not train.
        evaluation: seconds of evaluation; `ZERO_ESTIMATE`: it is not evaluated.

    Returns:
        The cost. `cpu_hours` are zero with GPUs, whose price includes the host's cores. `usd` is NaN if the hardware
        has no price. `kwh` covers the boards alone, at `POWER_UTILIZATION` of their maximum power, without host and
        cooling.
    """
    stages = sum(stage != ZERO_ESTIMATE for stage in (training, evaluation))
    workers_start = MULTI_WORKER_START_SECONDS if runtime.workers > 1 and training != ZERO_ESTIMATE else 0
    start = hardware.startup_seconds * (1 if stages else 0) + workers_start
    # Start-up is the least certain: from half to twice the expected time.
    starting = Estimate(start / 2, start, 2 * start)
    whole = training + starting if training != ZERO_ESTIMATE else ZERO_ESTIMATE
    after = evaluation + starting if training == ZERO_ESTIMATE and evaluation != ZERO_ESTIMATE else evaluation
    each = runtime.gpus or runtime.cpus
    hours = whole.scale(runtime.workers * each / _SECONDS_PER_HOUR) + after.scale(each / _SECONDS_PER_HOUR)
    gpus, cpus = (hours, ZERO_ESTIMATE) if runtime.gpus else (ZERO_ESTIMATE, hours)
    price = hardware.usd_per_hour
    watts = hardware.power_watts / 1000
    energy = Estimate(
        hours.low * watts * POWER_UTILIZATION.low,
        hours.expected * watts * POWER_UTILIZATION.expected,
        hours.high * watts * POWER_UTILIZATION.high,
    )
    usd = UNKNOWN_ESTIMATE if price is None and stages else hours.scale(price or 0.0)
    return Cost(whole + after, training, evaluation, gpus, cpus, usd, energy)


def sum_costs(costs: Iterable[Cost]) -> Cost:
    """Sum the costs of trials; `seconds` are those of the trials one after the other."""
    costs = list(costs)
    return Cost(*(sum_estimates(getattr(cost, field.name) for cost in costs) for field in fields(Cost)))


def compute_disk_usage(
    parameters: float, policy: CheckpointPolicy, *, optimizer_bytes: float, evaluated: bool
) -> DiskUsage:
    """Compute disk usage from the retention policy (`sweeper.training.retention`).

    Checkpoints and models dominate; rows, histories and answers are not counted.

    Args:
        parameters: parameters of the model.
        policy: which checkpoints and models stay.
        optimizer_bytes: bytes of the optimizer's states.
        evaluated: whether the model is evaluated.
    """
    weights = FLOAT32_BYTES * parameters
    checkpoint = weights + optimizer_bytes
    retention = get_retention_policy(policy)
    best = checkpoint if retention.keeps_best_checkpoint else 0.0
    kept = best + (weights if retention.keeps_model or not evaluated else 0.0)
    return DiskUsage(checkpoint, (CHECKPOINTS_WHILE_TRAINING + 1) * checkpoint + best, kept)


def get_peak_flops(hardware: HardwareSpec, precision: Precision) -> float:
    """Return the peak of one GPU or core, FLOP/s; NaN if the hardware lists no peak of this precision."""
    return hardware.tflops.get(precision, math.nan) * 1e12
