"""What finished trials say about the speed of hardware: a fit over their records. Pure; `measured.py` reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MIN_TRIALS_FOR_SPREAD = 3
"""Trials of one model from which their spread says how sure a prediction is."""
FEW_TRIALS_FACTOR, OTHER_MODEL_FACTOR, MIN_SPREAD_FACTOR = 1.3, 1.5, 1.1
"""Factor to either side of a prediction: from one or two trials, from another model's, and at the least. Taken."""
SAME_WORKLOAD_FACTOR = 1.1
"""Factor within which two trials of a model did the same work."""
MIN_FLOPS_PER_STEP_RATIO = 1.2
"""FLOPs per step have to differ by this factor for a fit to tell arithmetic from what a step takes besides."""


@dataclass(frozen=True)
class TimingRecord:
    """A finished trial. Seconds are NaN where that stage was not measured."""

    model: str
    parameters: int
    hardware: str
    """Kind of hardware, a name of `configs/hardware/`."""
    precision: str
    devices: float
    """GPUs, or cores where there is none, of all workers together."""
    steps: float
    flops: float
    """That the hardware did in training, recomputation included."""
    train_seconds: float
    suite: str | None = None
    """Fingerprint of the suite that was asked."""
    eval_seconds: float = math.nan


@dataclass(frozen=True)
class HardwareRates:
    """Seconds of an optimiser step besides arithmetic, and seconds of one FLOP on one GPU or core."""

    step_seconds: float
    flop_seconds: float

    def predict_seconds(self, record: TimingRecord) -> float:
        """What the training of that trial should have taken."""
        return self.step_seconds * record.steps + self.flop_seconds * record.flops / record.devices


@dataclass(frozen=True)
class CalibrationFactor:
    """What a prediction is multiplied by, with its range, and the trials it was measured on."""

    low: float
    expected: float
    high: float
    trials: int
    model: str
    """The model they trained: where it is another one than the predicted, the nearest in size."""


@dataclass(frozen=True)
class TimingRatio:
    """Measured over predicted seconds of one trial."""

    model: str
    parameters: int
    ratio: float
    flops: float = math.nan
    """What it computed: a trial of the same work says more than one of another."""


def fit_rates(records: Sequence[TimingRecord], prior: HardwareRates) -> HardwareRates:
    """Non-negative least squares of the relative error of a x steps + b x FLOPs per device, over trials of one kind of
    hardware. `prior` where their FLOPs per step are too alike to tell the two terms apart.
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
    """How trials did against the rates fitted over all of them: what is a model's own."""
    return [
        TimingRatio(row.model, row.parameters, row.train_seconds / rates.predict_seconds(row), row.flops)
        for row in records
    ]


def estimate_calibration_factor(
    model: str, parameters: int | None, ratios: Iterable[TimingRatio], flops: float = math.nan
) -> CalibrationFactor | None:
    """The factor of a model: the geometric mean of its trials' ratios, else of those of the nearest in size (by the
    logarithm of parameters); None without any. Where some of the model's own did as much `work` (within ALIKE), those
    alone count: what is the same for every trial of it (loading, validation) weighs more on short ones.

    From three trials on the range is two standard deviations of a further trial's logarithm, sd x sqrt(1 + 1/n).
    """
    found = [ratio for ratio in ratios if ratio.ratio > 0 and math.isfinite(ratio.ratio)]
    own = [ratio for ratio in found if ratio.model == model]
    if not own:
        if not found or not parameters:
            return None
        nearest = min(found, key=lambda ratio: abs(math.log(ratio.parameters / parameters))).model
        other = estimate_calibration_factor(nearest, None, found)
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
