"""Kinds of hardware: what one GPU (or one CPU core) holds, does, draws and costs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from sweeper.config.parts import FrozenConfig


class AssumedRange(FrozenConfig):
    """A number that is not known exactly: the value expected, and what it will hardly be below or above."""

    low: FiniteFloat = Field(ge=0)
    """Hardly less than this."""
    expected: FiniteFloat = Field(ge=0)
    """What is reckoned with."""
    high: FiniteFloat = Field(ge=0)
    """Hardly more than this."""

    @model_validator(mode="after")
    def _check_order(self) -> AssumedRange:
        if not self.low <= self.expected <= self.high:
            raise ValueError(f"not in order: low {self.low:g}, expected {self.expected:g}, high {self.high:g}")
        return self


class HardwareSpec(FrozenConfig):
    """A kind of GPU, or of CPU core. What is taken and not measured gives way to what finished trials measured."""

    name: str = Field(min_length=1)
    """The name used under `runtime`, by launchers and by `--hardware`."""
    kind: Literal["gpu", "cpu"] = "gpu"
    """Whether the figures are of one GPU or of one CPU core."""
    memory_gib: FiniteFloat | None = Field(default=None, gt=0)
    """Memory of one GPU that a program can use, GiB; a core has none of its own."""
    tflops: dict[Literal["fp32", "fp16", "bf16"], FiniteFloat]
    """Dense peak, TFLOPS, by precision of the recipe."""
    bandwidth_gb_s: FiniteFloat = Field(gt=0)
    """Peak of reading its memory, GB/s (10^9 bytes): what generating text is bound by."""
    power_watts: FiniteFloat = Field(gt=0)
    """What the board (or one core's share of the processor) draws at most, W; the machine around it is not in it."""
    utilisation: AssumedRange
    """Share of the peak TFLOPS that training is taken to reach."""
    step_seconds: AssumedRange
    """Time of an optimiser step that no arithmetic explains: Python, kernels' launches. Taken; small models are bound
    by it."""
    startup_seconds: FiniteFloat = Field(ge=0)
    """Until the first step of a trial in a warm worker, and from its last until the record: loading, saving. Taken."""
    usd_per_hour: FiniteFloat | None = Field(default=None, ge=0)
    """Price of one GPU and hour on demand, US dollars; `null`: none is known."""
    price_date: str | None = None
    """Day of that price, YYYY-MM-DD."""
    source: str
    """Where these come from, and when they were read."""
    device_names: list[str] = Field(default_factory=list)
    """How drivers name it, by beginnings: by these finished trials are known to have run on it."""
    instances: list[str] = Field(default_factory=list)
    """Prefixes of cloud machines that have it, such as `g5.`."""

    @model_validator(mode="after")
    def _check_hardware_fields(self) -> HardwareSpec:
        if self.kind == "gpu" and self.memory_gib is None:
            raise ValueError("a GPU needs `memory_gib`")
        if self.utilisation.high > 1 or self.utilisation.low <= 0:
            raise ValueError("`utilisation` is a share of the peak: above 0, at most 1")
        if (self.usd_per_hour is None) != (self.price_date is None):
            raise ValueError("a price has a date: `usd_per_hour` and `price_date` go together")
        return self
