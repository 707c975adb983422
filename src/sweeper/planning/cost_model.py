"""What one trial costs: seconds, GPU-hours, money, energy and bytes, from its work and its hardware. Pure.

Every figure is a range. What is taken and not measured is a constant here or a field of `HardwareSpec`; where finished
trials have measured it, `sweeper.planning.calibration` puts that in its place.
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
"""Forward passes are a third of training's FLOPs; gradient checkpointing does them twice."""
FORWARD_SHARE = 1 / 3
"""A forward pass is taken to launch a third of what a whole step launches: forward, backward, update."""
GENERATED_SHARE = Estimate(low=0.03, expected=0.15, high=1.0)
"""Share of the tokens that a suite allows (steps x new tokens) that agents generate until the last of a batch ends.
Taken: episodes of the generated world end after 14 % of theirs."""
BANDWIDTH_UTILIZATION = Estimate(low=0.4, expected=0.7, high=0.9)
"""Share of the peak of a memory's bandwidth that generating reaches. Taken, not measured."""
POWER_UTILIZATION = Estimate(low=0.5, expected=0.75, high=1.0)
"""Share of its highest power that a board draws while a trial runs. Taken, not measured."""
MULTI_WORKER_START_SECONDS = 23
"""Several workers are started anew for each trial: measured once, on two CPU cores."""
FLOAT32_BYTES = 4
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Workload:
    """What a trial computes. NaN where it is not known."""

    steps: float
    """Optimiser steps."""
    tokens: float
    """Tokens trained on, repetitions counted, padding not."""
    train_flops: float
    """Model FLOPs, forward and backward (`sweeper.models.flops`)."""
    parameters: float
    """Of the model."""
    mean_length: float
    """Mean tokens of a row; a prompt of the evaluation is taken to be as long."""
    forward_flops_per_token: float
    """FLOPs of reading or writing one token, in rows of that length."""
    kv_cache_bytes_per_token: float
    """Keys and values of one token, float32."""
    is_assumed: bool = False
    """The size of the data is taken (`data.assumed`): they are not prepared."""


@dataclass(frozen=True)
class EvaluationLoad:
    """How a suite is asked."""

    queries: int
    batch_size: int
    max_steps: int
    max_new_tokens: int


@dataclass(frozen=True)
class Remaining:
    """What of a trial the store does not have yet."""

    needs_training: bool = True
    needs_evaluation: bool = True

    @property
    def is_nothing(self) -> bool:
        """Whether it is reused whole."""
        return not self.needs_training and not self.needs_evaluation


@dataclass(frozen=True)
class Cost:
    """Of one trial, or of many together. `seconds` are one trial's from its start to its end, `training` and
    `evaluation` those that its record will hold: without starting and saving."""

    seconds: Estimate
    training: Estimate
    evaluation: Estimate
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
    """Bytes that a trial writes to the store."""

    checkpoint_bytes: float
    """One checkpoint: weights and AdamW's two moments, float32."""
    peak_bytes: float
    """At most, at a time: those that stay, the one that is being written, and with policy `best` the best one."""
    final_bytes: float
    """At the end."""


@dataclass(frozen=True)
class TrialEstimate:
    """What is expected of a planned trial before it starts."""

    workload: Workload
    """All of it, also what is reused."""
    remaining: Remaining
    cost: Cost
    """Of what is left; ZERO for a trial that the store has."""
    disk_usage: DiskUsage
    hardware: str | None
    """Kind of hardware it is reckoned on; None where that is not known."""
    basis: str
    """What the seconds of its training rest on."""

    def to_row(self) -> JsonObject:
        """As `plan --json` prints it beside the trial."""
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
    """GPUs of all workers together, or where there are none the cores that PyTorch uses."""
    return runtime.workers * (runtime.gpus or max(1, math.floor(runtime.cpus)))


def compute_hardware_flops(workload: Workload, *, gradient_checkpointing: bool) -> float:
    """FLOPs of training that the hardware does: model FLOPs, and what is computed again."""
    return workload.train_flops * (RECOMPUTATION_FACTOR if gradient_checkpointing else 1)


def estimate_training_seconds(
    flops: float, steps: float, hardware: HardwareSpec, *, precision: Precision, devices: float
) -> Estimate:
    """Seconds of training: `steps` x what a step takes besides arithmetic + `flops` / (devices x peak x utilisation).

    The second term is model FLOPs utilisation (Chowdhery et al. 2022, PaLM, section 4.1) with recomputation counted as
    work (`hardware_flops`); small models are bound by the first. A trial on a fraction of a GPU is given that fraction
    of its speed: sharing makes no FLOPs. NaN where the hardware has no peak of this precision.
    """
    peak = get_peak_flops(hardware, precision)

    def of(share: float, step: float) -> float:
        return steps * step + flops / (devices * peak * share)

    used, step = hardware.utilisation, hardware.step_seconds
    return Estimate(of(used.high, step.low), of(used.expected, step.expected), of(used.low, step.high))


def calibrate_training_seconds(
    flops: float, steps: float, rates: HardwareRates, factor: CalibrationFactor, devices: float
) -> Estimate:
    """The same from what finished trials took: rates of their hardware, and their model's own factor."""
    seconds = rates.step_seconds * steps + rates.flop_seconds * flops / devices
    return Estimate(seconds * factor.low, seconds * factor.expected, seconds * factor.high)


def estimate_evaluation_seconds(
    workload: Workload, load: EvaluationLoad, hardware: HardwareSpec, devices: float
) -> Estimate:
    """Seconds of asking a suite, in float32 on one worker.

    Pope et al. 2022 (Efficiently Scaling Transformer Inference), section 2: a step that writes a token for each row of
    a batch takes the longer of reading all weights and the batch's keys and values from memory once, and of 2 FLOPs per
    weight and row; here the launches of a forward pass are added. Prompts are read once (keys and values are kept),
    bound by FLOPs. Servers and judges that answer over the network are not in it. NaN where something is not known.
    """
    peak = get_peak_flops(hardware, "fp32")
    rows = min(load.batch_size, load.queries)
    read = workload.parameters * FLOAT32_BYTES + rows * workload.mean_length * workload.kv_cache_bytes_per_token
    batches = math.ceil(load.queries / load.batch_size)
    allowed = batches * load.max_steps * load.max_new_tokens

    def of(generated: float, bandwidth: float, share: float, step: float) -> float:
        memory = read / (devices * hardware.bandwidth_gb_s * 1e9 * bandwidth)
        arithmetic = workload.forward_flops_per_token / (devices * peak * share)
        writing = allowed * generated * (max(memory, rows * arithmetic) + FORWARD_SHARE * step)
        return writing + load.queries * workload.mean_length * arithmetic

    used, step, reached = hardware.utilisation, hardware.step_seconds, BANDWIDTH_UTILIZATION
    return Estimate(
        of(GENERATED_SHARE.low, reached.high, used.high, step.low),
        of(GENERATED_SHARE.expected, reached.expected, used.expected, step.expected),
        of(GENERATED_SHARE.high, reached.low, used.low, step.high),
    )


def compute_trial_cost(runtime: Runtime, hardware: HardwareSpec, training: Estimate, evaluation: Estimate) -> Cost:
    """Of one trial that trains and evaluates for so many seconds (ZERO: it does not), starting and saving added.

    All workers train, one evaluates. `cpu_hours` are those of trials without a GPU: cores beside a GPU are in its
    price. Dollars are NaN where the hardware has no price. Energy is that of the boards alone, at POWER_DRAWN of their
    highest power: no cooling, no host.
    """
    stages = sum(stage != ZERO_ESTIMATE for stage in (training, evaluation))
    gang = MULTI_WORKER_START_SECONDS if runtime.workers > 1 and training != ZERO_ESTIMATE else 0
    start = hardware.startup_seconds * (1 if stages else 0) + gang
    # Loading is the least certain: half to twice of it.
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
    """Of a plan; `seconds` are those of its trials one after the other."""
    found = list(costs)
    return Cost(*(sum_estimates(getattr(cost, part.name) for cost in found) for part in fields(Cost)))


def compute_disk_usage(parameters: float, policy: CheckpointPolicy, *, evaluated: bool) -> DiskUsage:
    """By the retention policy (`sweeper.training.retention`); rows, histories and answers are small beside it."""
    weights = FLOAT32_BYTES * parameters
    checkpoint = 3 * weights
    retention = get_retention_policy(policy)
    best = checkpoint if retention.keeps_best_checkpoint else 0.0
    kept = best + (weights if retention.keeps_model or not evaluated else 0.0)
    return DiskUsage(checkpoint, (CHECKPOINTS_WHILE_TRAINING + 1) * checkpoint + best, kept)


def get_peak_flops(hardware: HardwareSpec, precision: Precision) -> float:
    """Return the peak of one GPU or core, FLOP/s; NaN if the hardware lists no peak of this precision."""
    return hardware.tflops.get(precision, math.nan) * 1e12
