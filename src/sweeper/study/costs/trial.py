"""What one trial costs: seconds, GPU-hours, money, energy and bytes, from its work and its hardware. Pure.

Every figure is a range. What is taken and not measured is a constant here or a field of `HardwareSpec`; where finished
trials have measured it, `sweeper.study.costs.calibration` puts that in its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from sweeper.spec import HardwareSpec, Range, Runtime
from sweeper.study.costs.calibration import Factor, Rates
from sweeper.trial.retention import WHILE_TRAINING

RECOMPUTATION = 4 / 3
"""Forward passes are a third of training's FLOPs; gradient checkpointing does them twice."""
FORWARD_SHARE = 1 / 3
"""A forward pass is taken to launch a third of what a whole step launches: forward, backward, update."""
GENERATED = Range(low=0.03, expected=0.15, high=1.0)
"""Share of the tokens that a suite allows (steps x new tokens) that agents generate until the last of a batch ends.
Taken: episodes of the generated world end after 14 % of theirs."""
BANDWIDTH_REACHED = Range(low=0.4, expected=0.7, high=0.9)
"""Share of the peak of a memory's bandwidth that generating reaches. Taken, not measured."""
POWER_DRAWN = Range(low=0.5, expected=0.75, high=1.0)
"""Share of its highest power that a board draws while a trial runs. Taken, not measured."""
GANG_START_SECONDS = 23
"""Several workers are started anew for each trial: measured once, on two CPU cores."""
FLOAT32 = 4
_HOUR = 3600


@dataclass(frozen=True)
class Amount:
    """A figure with its range; NaN where it is not known."""

    low: float
    expected: float
    high: float

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def times(self, factor: float) -> Amount:
        """All three, multiplied."""
        return Amount(self.low * factor, self.expected * factor, self.high * factor)

    @property
    def known(self) -> bool:
        """Whether it is a number."""
        return not math.isnan(self.expected)


ZERO = Amount(0.0, 0.0, 0.0)
UNKNOWN = Amount(math.nan, math.nan, math.nan)


def total(amounts: Iterable[Amount]) -> Amount:
    """Their sum. Ends are added too: what is wrong about one trial of a model is wrong about the next."""
    found = list(amounts)
    return Amount(*(math.fsum(getattr(amount, end) for amount in found) for end in ("low", "expected", "high")))


@dataclass(frozen=True)
class Work:
    """What a trial computes. NaN where it is not known."""

    steps: float
    """Optimiser steps."""
    tokens: float
    """Tokens trained on, repetitions counted, padding not."""
    train_flops: float
    """Model FLOPs, forward and backward (`sweeper.models.flops`)."""
    parameters: float
    """Of the model."""
    length: float
    """Mean tokens of a row; a prompt of the evaluation is taken to be as long."""
    forward_flops: float
    """FLOPs of reading or writing one token, in rows of that length."""
    cache_bytes: float
    """Keys and values of one token, float32."""
    assumed: bool = False
    """The size of the data is taken (`data.assumed`): they are not prepared."""


@dataclass(frozen=True)
class Asked:
    """How a suite is asked."""

    queries: int
    batch_size: int
    max_steps: int
    max_new_tokens: int


@dataclass(frozen=True)
class Left:
    """What of a trial the store does not have yet."""

    training: bool = True
    evaluation: bool = True

    @property
    def nothing(self) -> bool:
        """Whether it is reused whole."""
        return not self.training and not self.evaluation


@dataclass(frozen=True)
class Cost:
    """Of one trial, or of many together. `seconds` are one trial's from its start to its end, `training` and
    `evaluation` those that its record will hold: without starting and saving."""

    seconds: Amount
    training: Amount
    evaluation: Amount
    gpu_hours: Amount
    cpu_hours: Amount
    usd: Amount
    kwh: Amount


@dataclass(frozen=True)
class Disk:
    """Bytes that a trial writes to the store."""

    checkpoint: float
    """One checkpoint: weights and AdamW's two moments, float32."""
    while_training: float
    """At most, at a time: those that stay, the one that is being written, and with policy `best` the best one."""
    kept: float
    """At the end."""


@dataclass(frozen=True)
class Predicted:
    """What is expected of a planned trial before it starts."""

    work: Work
    """All of it, also what is reused."""
    left: Left
    cost: Cost
    """Of what is left; ZERO for a trial that the store has."""
    disk: Disk
    hardware: str | None
    """Kind of hardware it is reckoned on; None where that is not known."""
    basis: str
    """What the seconds of its training rest on."""

    def row(self) -> dict[str, Any]:
        """As `plan --json` prints it beside the trial."""
        cost = self.cost
        return {
            "planned_tokens": self.work.tokens,
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
            "checkpoint_bytes": self.disk.checkpoint,
            "kept_bytes": self.disk.kept,
            "reused": "whole" if self.left.nothing else "training" if not self.left.training else "",
        }


FREE = Cost(*[ZERO] * 7)
NOT_KNOWN = Cost(*[UNKNOWN] * 7)


def devices(runtime: Runtime) -> float:
    """GPUs of all workers together, or where there are none the cores that PyTorch uses."""
    return runtime.workers * (runtime.gpus or max(1, math.floor(runtime.cpus)))


def hardware_flops(work: Work, *, gradient_checkpointing: bool) -> float:
    """FLOPs of training that the hardware does: model FLOPs, and what is computed again."""
    return work.train_flops * (RECOMPUTATION if gradient_checkpointing else 1)


def training_seconds(flops: float, steps: float, hardware: HardwareSpec, *, precision: str, devices: float) -> Amount:
    """Seconds of training: `steps` x what a step takes besides arithmetic + `flops` / (devices x peak x utilisation).

    The second term is model FLOPs utilisation (Chowdhery et al. 2022, PaLM, section 4.1) with recomputation counted as
    work (`hardware_flops`); small models are bound by the first. A trial on a fraction of a GPU is given that fraction
    of its speed: sharing makes no FLOPs. NaN where the hardware has no peak of this precision.
    """
    peak = _peak(hardware, precision)

    def of(share: float, step: float) -> float:
        return steps * step + flops / (devices * peak * share)

    used, step = hardware.utilisation, hardware.step_seconds
    return Amount(of(used.high, step.low), of(used.expected, step.expected), of(used.low, step.high))


def measured_training_seconds(flops: float, steps: float, rates: Rates, factor: Factor, devices: float) -> Amount:
    """The same from what finished trials took: rates of their hardware, and their model's own factor."""
    seconds = rates.step_seconds * steps + rates.flop_seconds * flops / devices
    return Amount(seconds * factor.low, seconds * factor.expected, seconds * factor.high)


def evaluation_seconds(work: Work, asked: Asked, hardware: HardwareSpec, devices: float) -> Amount:
    """Seconds of asking a suite, in float32 on one worker.

    Pope et al. 2022 (Efficiently Scaling Transformer Inference), section 2: a step that writes a token for each row of
    a batch takes the longer of reading all weights and the batch's keys and values from memory once, and of 2 FLOPs per
    weight and row; here the launches of a forward pass are added. Prompts are read once (keys and values are kept),
    bound by FLOPs. Servers and judges that answer over the network are not in it. NaN where something is not known.
    """
    peak = _peak(hardware, "fp32")
    rows = min(asked.batch_size, asked.queries)
    read = work.parameters * FLOAT32 + rows * work.length * work.cache_bytes
    batches = math.ceil(asked.queries / asked.batch_size)
    allowed = batches * asked.max_steps * asked.max_new_tokens

    def of(generated: float, bandwidth: float, share: float, step: float) -> float:
        memory = read / (devices * hardware.bandwidth_gb_s * 1e9 * bandwidth)
        arithmetic = work.forward_flops / (devices * peak * share)
        writing = allowed * generated * (max(memory, rows * arithmetic) + FORWARD_SHARE * step)
        return writing + asked.queries * work.length * arithmetic

    used, step, reached = hardware.utilisation, hardware.step_seconds, BANDWIDTH_REACHED
    return Amount(
        of(GENERATED.low, reached.high, used.high, step.low),
        of(GENERATED.expected, reached.expected, used.expected, step.expected),
        of(GENERATED.high, reached.low, used.low, step.high),
    )


def cost_of(runtime: Runtime, hardware: HardwareSpec, training: Amount, evaluation: Amount) -> Cost:
    """Of one trial that trains and evaluates for so many seconds (ZERO: it does not), starting and saving added.

    All workers train, one evaluates. `cpu_hours` are those of trials without a GPU: cores beside a GPU are in its
    price. Dollars are NaN where the hardware has no price. Energy is that of the boards alone, at POWER_DRAWN of their
    highest power: no cooling, no host.
    """
    stages = sum(stage != ZERO for stage in (training, evaluation))
    gang = GANG_START_SECONDS if runtime.workers > 1 and training != ZERO else 0
    start = hardware.startup_seconds * (1 if stages else 0) + gang
    # Loading is the least certain: half to twice of it.
    starting = Amount(start / 2, start, 2 * start)
    whole = training + starting if training != ZERO else ZERO
    after = evaluation + starting if training == ZERO and evaluation != ZERO else evaluation
    each = runtime.gpus or runtime.cpus
    hours = whole.times(runtime.workers * each / _HOUR) + after.times(each / _HOUR)
    gpus, cpus = (hours, ZERO) if runtime.gpus else (ZERO, hours)
    price = hardware.usd_per_hour
    watts = hardware.power_watts / 1000
    energy = Amount(
        hours.low * watts * POWER_DRAWN.low,
        hours.expected * watts * POWER_DRAWN.expected,
        hours.high * watts * POWER_DRAWN.high,
    )
    usd = UNKNOWN if price is None and stages else hours.times(price or 0.0)
    return Cost(whole + after, training, evaluation, gpus, cpus, usd, energy)


def sum_of(costs: Iterable[Cost]) -> Cost:
    """Of a plan; `seconds` are those of its trials one after the other."""
    found = list(costs)
    return Cost(*(total(getattr(cost, part.name) for cost in found) for part in fields(Cost)))


def disk_of(parameters: float, policy: str, *, evaluated: bool) -> Disk:
    """By the retention policy (`sweeper.trial.retention`); rows, histories and answers are small beside it."""
    weights = FLOAT32 * parameters
    checkpoint = 3 * weights
    best = checkpoint if policy == "best" else 0.0
    kept = 0.0 if policy == "none-after-evaluation" and evaluated else weights + best
    return Disk(checkpoint, (WHILE_TRAINING + 1) * checkpoint + best, kept)


def amounts_json(cost: Cost) -> dict[str, Any]:
    """As `plan --json` prints it: what is expected, and `low` and `high` beside it."""
    names = ("gpu_hours", "cpu_hours", "usd")
    ends = {end: {name: getattr(getattr(cost, name), end) for name in names} for end in ("low", "expected", "high")}
    return {**ends["expected"], "low": ends["low"], "high": ends["high"]}


def _peak(hardware: HardwareSpec, precision: str) -> float:
    """FLOPS; NaN where it is not known."""
    return next((value * 1e12 for name, value in hardware.tflops.items() if name == precision), math.nan)
