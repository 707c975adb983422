"""What a study has spent against what it may. Pure: no clock, no store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.config import BudgetSpec, HardwareSpec, Runtime
from sweeper.planning.cost_model import Cost

RESOURCE_USAGE_FILE = "spent.json"
"""What a study has spent, in its folder. Trials that another study had trained cost this one nothing."""
LIMIT_UNITS = {"gpu_hours": "GPU-hours", "cpu_hours": "core-hours", "usd": "US dollars", "wall_hours": "hours"}


@dataclass(frozen=True)
class ResourceUsage:
    """Of trials that ended. NaN where something has no measure or price: it then cannot be held to a limit."""

    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    usd: float = 0.0

    def __add__(self, other: ResourceUsage) -> ResourceUsage:
        return ResourceUsage(self.gpu_hours + other.gpu_hours, self.cpu_hours + other.cpu_hours, self.usd + other.usd)


def usage_of_trial(
    runtime: Runtime, train_seconds: float, eval_seconds: float = 0.0, hardware: HardwareSpec | None = None
) -> ResourceUsage:
    """Of one trial, from the seconds in its record and summary: all workers trained, one evaluated.

    NaN seconds (a stage that did not run, or was not measured) count as none.
    """
    train, evaluation = (0.0 if math.isnan(seconds) else seconds for seconds in (train_seconds, eval_seconds))
    each = runtime.gpus or runtime.cpus
    hours = each * (runtime.workers * train + evaluation) / 3600
    if not runtime.gpus:
        return ResourceUsage(cpu_hours=hours)
    price = hardware.usd_per_hour if hardware else None
    return ResourceUsage(gpu_hours=hours, usd=math.nan if price is None else hours * price)


def expected_usage(cost: Cost) -> ResourceUsage:
    """What a trial is expected to spend. Without a GPU it spends no dollars that are limited here."""
    usd = cost.usd.expected if cost.gpu_hours.expected else 0.0
    return ResourceUsage(cost.gpu_hours.expected, cost.cpu_hours.expected, usd)


class Budget:
    """Which trials may still start. Use by the loop that starts trials:

        budget = Budget(plan.sweep.budget, spent=…, wall_hours=…)   # of earlier runs: `spent_on` over their records
        if budget.may_start(trial.predicted.cost, hours):           # hours since this run began
            budget.started(trial.fingerprint, trial.predicted.cost)
        …
        budget.ended(trial.fingerprint, spent_on(…))                # also of a failed one: what it took is spent
        budget.exhausted                                            # why it holds trials back, for the user; or None

    What runs counts with its prediction until it ends, so that many at once do not overrun together; one that runs is
    never stopped. A trial with an unknown cost may start while nothing is exhausted. A smaller trial may still start
    after a larger one was refused.
    """

    def __init__(self, limits: BudgetSpec | None, usage: ResourceUsage | None = None, wall_hours: float = 0.0) -> None:
        """`spent` and `wall_hours`: by earlier runs of the study."""
        self.limits = limits or BudgetSpec()
        self.usage = usage or ResourceUsage()
        """Of all trials that ended."""
        self.earlier_hours = wall_hours
        self.refusal_reason: str | None = None
        """Why a trial was refused, the last time that one was."""
        self._expected_usages: dict[str, ResourceUsage] = {}

    @property
    def committed_usage(self) -> ResourceUsage:
        """Spent, and what running trials are expected to."""
        found = self.usage
        for running in self._expected_usages.values():
            found = found + running
        return found

    def check_limits(self, expected_cost: Cost | None, elapsed_hours: float = 0.0) -> bool:
        """Whether a trial fits what is left; `hours` is the time since this run began."""
        want = expected_usage(expected_cost) if expected_cost else ResourceUsage(math.nan, math.nan, math.nan)
        before = self.committed_usage
        for name in ("gpu_hours", "cpu_hours", "usd"):
            limit = getattr(self.limits, name)
            if limit is None:
                continue
            have, more = getattr(before, name), getattr(want, name)
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
        """It runs, and is expected to spend so much."""
        self._expected_usages[key] = (
            expected_usage(expected_cost) if expected_cost and expected_cost.seconds.is_known else ResourceUsage()
        )

    def record_end(self, key: str, usage: ResourceUsage) -> None:
        """It ended, one way or another, and spent so much."""
        self._expected_usages.pop(key, None)
        self.usage = self.usage + usage


def find_exceeded_limits(limits: BudgetSpec | None, expected: Mapping[str, float]) -> list[str]:
    """A sentence for each limit that a plan is expected to exceed. `predicted`: by the names of the limits."""
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
