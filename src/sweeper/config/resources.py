"""Kinds of hardware (`configs/hardware/`) and the budget of a study."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from sweeper.config.base import MAX_NUMBER, FrozenConfig
from sweeper.config.estimate import Estimate, check_estimate


class BudgetSpec(FrozenConfig):
    """Limits of a study, over all its runs.

    A plan that is expected to exceed one does not start. A run stops starting trials when the budget is spent; run it
    again under a larger budget to resume.
    """

    gpu_hours: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """GPU-hours; half a GPU for an hour counts 0.5."""
    cpu_hours: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """Core-hours of trials without a GPU."""
    usd: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """US dollars for GPUs, at the prices of `configs/hardware/`."""
    wall_hours: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """Hours since a run's start, summed over all runs."""


_AssumedEstimate = Annotated[Estimate, AfterValidator(check_estimate)]


class HardwareSpec(FrozenConfig):
    """A kind of GPU, or of CPU core. Measurements of finished trials replace what is assumed here."""

    name: str = Field(min_length=1)
    """Name used under `runtime`, by launchers and by `--hardware`."""
    kind: Literal["gpu", "cpu"] = "gpu"
    """Whether the figures are those of one GPU or of one CPU core."""
    memory_gib: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """Usable memory of one GPU, GiB; a core has none of its own."""
    tflops: dict[Literal["fp32", "fp16", "bf16"], FiniteFloat]
    """Dense peak, TFLOPS, by precision of the recipe."""
    bandwidth_gb_s: FiniteFloat = Field(gt=0, le=MAX_NUMBER)
    """Peak memory bandwidth, GB/s (10^9 bytes); it limits text generation."""
    power_watts: FiniteFloat = Field(gt=0, le=MAX_NUMBER)
    """Maximum power of the board (or of one core's share of the processor), W; the rest of the machine is excluded."""
    utilisation: _AssumedEstimate
    """Share of the peak TFLOPS that training is assumed to reach."""
    step_seconds: _AssumedEstimate
    """Time of an optimizer step beyond its arithmetic, s: Python and kernel launches. Assumed; it limits small
    models."""
    startup_seconds: FiniteFloat = Field(ge=0, le=MAX_NUMBER)
    """Time before the first step of a trial in a warm worker, and from its last step to its record, s: loading and
    saving. Assumed."""
    usd_per_hour: FiniteFloat | None = Field(default=None, ge=0, le=MAX_NUMBER)
    """On-demand price of one GPU per hour, US dollars; `null`: unknown."""
    price_date: str | None = None
    """Date of that price, YYYY-MM-DD."""
    source: str
    """Source of these figures, and when they were read."""
    device_names: list[str] = Field(default_factory=list)
    """Prefixes of the names that drivers report for it; they identify the hardware of finished trials."""
    instances: list[str] = Field(default_factory=list)
    """Prefixes of cloud instance types that have it, such as `g5.`."""

    @model_validator(mode="after")
    def _check_hardware_fields(self) -> HardwareSpec:
        if self.kind == "gpu" and self.memory_gib is None:
            raise ValueError("a GPU needs `memory_gib`")
        if self.utilisation.high > 1 or self.utilisation.low <= 0:
            raise ValueError("`utilisation` is a share of the peak: above 0, at most 1")
        if (self.usd_per_hour is None) != (self.price_date is None):
            raise ValueError("a price has a date: `usd_per_hour` and `price_date` go together")
        return self
