"""What a study may spend at most."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from sweeper.config.parts import FrozenConfig


class BudgetSpec(FrozenConfig):
    """Limits of a study, over all its runs. A plan that is expected to need more does not start; a run that has spent
    as much starts no further trial, and running it again under a larger budget goes on."""

    gpu_hours: FiniteFloat | None = Field(default=None, gt=0)
    """GPU-hours: half a GPU for an hour is half of one."""
    cpu_hours: FiniteFloat | None = Field(default=None, gt=0)
    """Core-hours of trials without a GPU."""
    usd: FiniteFloat | None = Field(default=None, gt=0)
    """US dollars for GPUs, at the prices of `configs/hardware/`."""
    wall_hours: FiniteFloat | None = Field(default=None, gt=0)
    """Hours from a run's start, of all runs together."""
