"""Resource usage of a study against the limits of its budget. Pure: no clock, no store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.config import BudgetSpec, HardwareSpec, Runtime
from sweeper.planning.cost_model import Cost

RESOURCE_USAGE_FILE = "spent.json"
"""Resource usage of a study, in its folder. Trials that another study trained do not count."""
LIMIT_UNITS = {"gpu_hours": "GPU-hours", "cpu_hours": "core-hours", "usd": "US dollars", "wall_hours": "hours"}


@dataclass(frozen=True)
class ResourceUsage:
    """Resources that ended trials used; NaN if unmeasured or without a price: no limit then applies."""

    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    usd: float = 0.0

    def __add__(self, other: ResourceUsage) -> ResourceUsage:
        return ResourceUsage(self.gpu_hours + other.gpu_hours, self.cpu_hours + other.cpu_hours, self.usd + other.usd)


def measure_trial_usage(
    runtime: Runtime, train_seconds: float, eval_seconds: float = 0.0, hardware: HardwareSpec | None = None
) -> ResourceUsage:
    """Compute what one trial used: all of its workers train, one evaluates.

    Args:
        runtime: resources of the trial.
        train_seconds: training time from its record; NaN counts as zero.
        eval_seconds: evaluation time from its summary; NaN counts as zero.
        hardware: the kind of its GPUs, which has their price.
    """
    train, evaluation = (0.0 if math.isnan(seconds) else seconds for seconds in (train_seconds, eval_seconds))
    each = runtime.gpus or runtime.cpus
    hours = each * (runtime.workers * train + evaluation) / 3600
    if not runtime.gpus:
        return ResourceUsage(cpu_hours=hours)
    price = hardware.usd_per_hour if hardware else None
    return ResourceUsage(gpu_hours=hours, usd=math.nan if price is None else hours * price)


def estimate_usage(cost: Cost) -> ResourceUsage:
    """Return the expected usage of a trial. The dollar limit covers GPUs alone."""
    usd = cost.usd.expected if cost.gpu_hours.expected else 0.0
    return ResourceUsage(cost.gpu_hours.expected, cost.cpu_hours.expected, usd)


class Budget:
    """Decides which trials may still start.

    A running trial counts with its expected usage until it ends, so that many trials together do not exceed a limit. A
    running trial is never stopped. A trial of unknown cost may start while no limit is reached, and a smaller trial may
    start after a larger one was refused.

    Example:
        >>> budget = Budget(BudgetSpec(gpu_hours=1), ResourceUsage(gpu_hours=1))
        >>> budget.check_limits(None)
        False
        >>> budget.refusal_reason
        'budget.gpu_hours: 1 of 1 GPU-hours are spent or in use'
    """

    def __init__(self, limits: BudgetSpec | None, usage: ResourceUsage | None = None, wall_hours: float = 0.0) -> None:
        """Continue a budget.

        Args:
            limits: limits of the study; None: none.
            usage: usage of earlier runs.
            wall_hours: hours of earlier runs.
        """
        self.limits = limits or BudgetSpec()
        self.usage = usage or ResourceUsage()
        """Usage of all ended trials."""
        self.earlier_hours = wall_hours
        self.refusal_reason: str | None = None
        """Why a trial was last refused; None if none was."""
        self._expected_usages: dict[str, ResourceUsage] = {}

    @property
    def committed_usage(self) -> ResourceUsage:
        """Usage of ended trials plus the expected usage of running ones."""
        return sum(self._expected_usages.values(), self.usage)

    def check_limits(self, expected_cost: Cost | None, elapsed_hours: float = 0.0) -> bool:
        """Return whether a trial fits the limits. If not, `refusal_reason` says why.

        Args:
            expected_cost: expected cost of the trial; None if unknown.
            elapsed_hours: hours since this run started.
        """
        expected = estimate_usage(expected_cost) if expected_cost else ResourceUsage(math.nan, math.nan, math.nan)
        committed = self.committed_usage
        for name in ("gpu_hours", "cpu_hours", "usd"):
            limit = getattr(self.limits, name)
            if limit is None:
                continue
            have, more = getattr(committed, name), getattr(expected, name)
            if have >= limit or have + more > limit:  # NaN is neither
                self.refusal_reason = _format_refusal(name, have, more, limit)
                return False
        wall = self.limits.wall_hours
        if wall is not None and self.earlier_hours + elapsed_hours >= wall:
            self.refusal_reason = (
                f"budget.wall_hours: {self.earlier_hours + elapsed_hours:.3g} of {wall:g} hours have passed"
            )
            return False
        return True

    def record_start(self, key: str, expected_cost: Cost | None) -> None:
        """Count a trial as running."""
        self._expected_usages[key] = (
            estimate_usage(expected_cost) if expected_cost and expected_cost.seconds.is_known else ResourceUsage()
        )

    def record_end(self, key: str, usage: ResourceUsage) -> None:
        """Count a trial as ended, with its measured usage; also for a failed trial."""
        self._expected_usages.pop(key, None)
        self.usage = self.usage + usage


def find_exceeded_limits(limits: BudgetSpec | None, expected: Mapping[str, float]) -> list[str]:
    """Describe each limit that a plan is expected to exceed.

    Args:
        limits: limits of the study.
        expected: expected usage by name of the limit.
    """
    if limits is None:
        return []
    return [
        f"budget.{name}: the plan is expected to need {expected[name]:,.3g} {LIMIT_UNITS[name]}, and the limit is "
        f"{limit:,g}; fewer trials, or --set budget.{name}=N"
        for name, limit in limits.model_dump().items()
        if limit is not None and expected[name] > limit
    ]


def _format_refusal(name: str, committed: float, expected: float, limit: float) -> str:
    next_one = "" if math.isnan(expected) else f"; the next trial is expected to need {expected:.3g}"
    return f"budget.{name}: {committed:.3g} of {limit:g} {LIMIT_UNITS[name]} are spent or in use{next_one}"
