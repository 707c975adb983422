"""Speed of hardware, fitted to the times of finished trials. Pure; `timing_records` reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MIN_TRIALS_FOR_SPREAD = 3
"""Trials of one model that are needed to take the range of an estimate from their spread."""
FEW_TRIALS_FACTOR, OTHER_MODEL_FACTOR, MIN_SPREAD_FACTOR = 1.3, 1.5, 1.1
"""Half-widths of a range as factors: from one or two trials, from another model, and at least. Assumed."""
SAME_WORKLOAD_FACTOR = 1.1
"""Factor within which the FLOPs of two trials count as the same work."""
MIN_FLOPS_PER_STEP_RATIO = 1.2
"""FLOPs per step must differ by this factor for a fit to separate arithmetic from the overhead of a step."""


@dataclass(frozen=True)
class TimingRecord:
    """Times of a finished trial. Seconds are NaN if the stage was not measured."""

    model: str
    parameters: int
    hardware: str
    """Name of `configs/hardware/`."""
    precision: str
    devices: float
    """GPUs, or cores without GPUs, of all workers together."""
    steps: float
    flops: float
    """FLOPs of the training, including recomputation."""
    train_seconds: float
    suite: str | None = None
    """Fingerprint of the evaluated suite."""
    eval_seconds: float = math.nan


@dataclass(frozen=True)
class HardwareRates:
    """Overhead of an optimizer step, and time of one FLOP on one GPU or core, in seconds."""

    step_seconds: float
    flop_seconds: float

    def predict_seconds(self, record: TimingRecord) -> float:
        """Predict the training time of a trial."""
        return self.step_seconds * record.steps + self.flop_seconds * record.flops / record.devices


@dataclass(frozen=True)
class CalibrationFactor:
    """Factor on a prediction, with its range and the trials that it was measured on."""

    low: float
    expected: float
    high: float
    trials: int
    model: str
    """Their model: the predicted one, or else the nearest in size."""


@dataclass(frozen=True)
class TimingRatio:
    """Ratio of measured to predicted seconds of one trial."""

    model: str
    parameters: int
    ratio: float
    flops: float = math.nan
    """FLOPs of the trial: trials with the same work are preferred."""


def fit_rates(records: Sequence[TimingRecord], prior: HardwareRates) -> HardwareRates:
    """Fit the rates of one kind of hardware.

    Non-negative least squares of the relative error of step_seconds x steps + flop_seconds x FLOPs per device.

    Args:
        records: trials on that hardware.
        prior: returned if the FLOPs per step are too similar to separate the two terms.
    """
    each = [row.flops / row.devices / row.steps for row in records]
    if not records or max(each) < MIN_FLOPS_PER_STEP_RATIO * min(each):
        return prior
    x = [row.steps / row.train_seconds for row in records]
    y = [row.flops / row.devices / row.train_seconds for row in records]
    xx, xy, yy = (math.fsum(p * q for p, q in zip(a, b, strict=True)) for a, b in ((x, x), (x, y), (y, y)))
    sx, sy = math.fsum(x), math.fsum(y)
    determinant = xx * yy - xy * xy
    if determinant <= 1e-9 * xx * yy:
        return prior
    step, flop = (sx * yy - sy * xy) / determinant, (sy * xx - sx * xy) / determinant
    if step < 0:
        return HardwareRates(0.0, sy / yy)
    if flop < 0:
        return HardwareRates(sx / xx, 0.0)
    return HardwareRates(step, flop)


def compute_timing_ratios(records: Iterable[TimingRecord], rates: HardwareRates) -> list[TimingRatio]:
    """Compute the ratios of trials to the rates fitted over all of them."""
    return [
        TimingRatio(row.model, row.parameters, row.train_seconds / rates.predict_seconds(row), row.flops)
        for row in records
    ]


def estimate_calibration_factor(
    model: str, parameters: int | None, ratios: Iterable[TimingRatio], flops: float = math.nan
) -> CalibrationFactor | None:
    """Estimate the factor of a model: the geometric mean of its trials' ratios.

    Without trials of the model, those of the nearest in size (log parameters) count. Trials of the model with the same
    work are preferred if there are any: fixed costs such as loading and validation weigh more on short trials. From
    three trials on, the range is two standard deviations of a further trial's log ratio, sd x sqrt(1 + 1/n).

    Args:
        model: name of the model.
        parameters: its size; None if unknown.
        ratios: ratios of finished trials on the same hardware.
        flops: FLOPs of the predicted trial.

    Returns:
        The factor; None without trials.
    """
    usable = [ratio for ratio in ratios if ratio.ratio > 0 and math.isfinite(ratio.ratio)]
    own = [ratio for ratio in usable if ratio.model == model]
    if not own:
        if not usable or not parameters:
            return None
        nearest = min(usable, key=lambda ratio: abs(math.log(ratio.parameters / parameters))).model
        other = estimate_calibration_factor(nearest, None, usable)
        if other is None:
            return None
        width = max(OTHER_MODEL_FACTOR, other.high / other.expected)
        return CalibrationFactor(other.expected / width, other.expected, other.expected * width, other.trials, nearest)
    alike = [ratio for ratio in own if flops / SAME_WORKLOAD_FACTOR <= ratio.flops <= flops * SAME_WORKLOAD_FACTOR]
    logs = [math.log(ratio.ratio) for ratio in alike or own]
    n, mean = len(logs), math.fsum(logs) / len(logs)
    width = math.log(FEW_TRIALS_FACTOR)
    if n >= MIN_TRIALS_FOR_SPREAD:
        sd = math.sqrt(math.fsum((log - mean) ** 2 for log in logs) / (n - 1))
        width = max(math.log(MIN_SPREAD_FACTOR), 2 * sd * math.sqrt(1 + 1 / n))
    return CalibrationFactor(math.exp(mean - width), math.exp(mean), math.exp(mean + width), n, model)
