"""A sweep -> what would run, what it would cost, and what its claims could detect. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.api.sweeps import load_sweep
from sweeper.config import Sweep, find_hardware_spec, load_hardware_specs, read_yaml_as_dict
from sweeper.errors import UsageError
from sweeper.planning.claim_power import ObservedRuns, build_power_table, price_looks, simulate_plan
from sweeper.planning.cluster_files import ClusterSpec, read_cluster
from sweeper.planning.cost_model import PlanEstimate
from sweeper.planning.estimate import estimate_plan, retarget_hardware
from sweeper.planning.makespan import ClusterForecast, forecast_cluster
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.results.observed_spread import measure_spread
from sweeper.results.study_tables import collect_study
from sweeper.storage import JsonObject, Store

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.claims.power_table import PowerRow
    from sweeper.config import HardwareSpec

__all__ = ["SweepPlan", "plan", "refuse_underpowered"]


@dataclass(frozen=True)
class SweepPlan:
    """What would run for a sweep. `plan` makes it."""

    planned: Plan = field(repr=False)
    """The typed plan behind the tables."""
    forecast: ClusterForecast | None = field(default=None, repr=False)
    """How a cluster would run it; None without a cluster file."""
    observed: ObservedRuns | None = field(default=None, repr=False)
    """What finished runs of the sweep show about their spread; None without a store, or before any has finished."""

    def __repr__(self) -> str:
        """Return the sweep's name and the numbers of its trials and problems."""
        n_trials, n_problems = len(self.planned.trials), len(self.problems)
        return f"SweepPlan({self.sweep.name!r}: {n_trials:,} trials, {n_problems:,} problems)"

    @property
    def sweep(self) -> Sweep:
        """The sweep."""
        return self.planned.sweep

    @property
    def axes(self) -> list[str]:
        """Axes of the sweep, those of its search included; columns of `trials`."""
        return [*self.sweep.axes, *self.sweep.searched]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: fingerprint, model, seed, every field of its recipe, steps, FLOPs, engine and cost."""
        import pandas as pd

        return pd.DataFrame([trial.to_row() for trial in self.planned.trials])

    @property
    def cost(self) -> PlanEstimate | None:
        """Predicted cost of what is left to do, each figure with its range; None without a store."""
        return self.planned.estimate

    @property
    def problems(self) -> tuple[str, ...]:
        """What prevents the run, one sentence each; with a cluster, also what fits on none of its machines."""
        return (*self.planned.problems, *(self.forecast.makespan.problems if self.forecast else ()))

    @cached_property
    def claims(self) -> pd.DataFrame:
        """One row per claim: arms, seeds and margin, minimum detectable effect, and the claim's power and cost."""
        import pandas as pd

        return pd.DataFrame(self._power_rows)

    @property
    def underpowered(self) -> dict[str, str]:
        """Claim -> why it is underpowered: its minimum detectable effect exceeds its margin."""
        return {str(row["id"]): str(row["reason"]) for row in self._power_rows if row["underpowered"]}

    @cached_property
    def _power_table(self) -> list[PowerRow]:
        return build_power_table(self.planned, self.observed)

    @cached_property
    def _power_rows(self) -> list[JsonObject]:
        rows = self._power_table
        if self.cost is None or self.planned.parts or self.sweep.search:
            return [row.to_document() | {"expected_cost": None} for row in rows]
        return [row.to_document() | {"expected_cost": dict(price_looks(self.planned, [row]).expected)} for row in rows]

    @property
    def look_price(self) -> JsonObject | None:
        """The expected, largest and fixed cost of `until: decided`, in hours; None for a sweep that is complete."""
        if self.cost is None or self.sweep.until == "complete":
            return None
        return price_looks(self.planned, self._power_table).to_document()

    def to_document(self) -> JsonObject:
        """Return the document of `sweeper plan --json`."""
        document = self.planned.to_document()
        if self.forecast:
            document["cluster"] = self.forecast.to_document()
        if self.sweep.until == "decided":
            document["until_decided"] = self.look_price
        rows = zip(document["claims"], self._power_rows, strict=True)
        return document | {"claims": [claim | power for claim, power in rows]}

    def list_claims(self) -> list[JsonObject]:
        """Return the rows of `claims` as `sweeper claims --json` prints them."""
        return list(self._power_rows)

    def simulate(
        self,
        truth: Mapping[str, object] | str | Path,
        *,
        studies: int = 200,
        seed: int = 0,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> JsonObject:
        """Simulate studies under assumed true pass rates.

        Args:
            truth: the true pass rate of each arm and the spread of seeds and queries: a mapping, or a YAML file.
            studies: number of simulated studies.
            seed: seed of the simulation.
            on_progress: called with the share of studies done, 0 to 1.

        Returns:
            The document of `sweeper simulate --json`: per claim whether it holds, how often each verdict was given, and
            how often the interval covers the true difference.

        Raises:
            UsageError: a truth that does not fit the plan, a combined sweep, or a sweep without evaluation.
        """
        if self.planned.parts:
            hint = "simulate each of its sweeps"
            raise UsageError("simulate", requested=self.sweep.name, found="a union of sweeps", hint=hint)
        assumed = truth if isinstance(truth, Mapping) else read_yaml_as_dict(Path(truth))
        return simulate_plan(self.planned, assumed, n_studies=studies, seed=seed, on_progress=on_progress)


def plan(
    sweep: Sweep | str | Path | Mapping[str, object],
    storage: str | Path | None = "storage",
    *,
    cluster: str | Path | None = None,
    hardware: str | None = None,
) -> SweepPlan:
    """Plan every trial of a sweep: fingerprint, size, engine, cost, and what prevents the run.

    Args:
        sweep: a sweep of `load_sweep`, or what it takes: a name, a path or a mapping.
        storage: the store whose finished trials are reused: a folder or a URL. None reads none, and predicts no cost.
        cluster: a cluster file of the Ray launcher or of KubeRay: what fits, how many trials at once, how long.
        hardware: plan for this GPU of `configs/hardware/` instead of the sweep's.

    Returns:
        The plan: its trials, cost, claims and problems.

    Raises:
        UsageError: unknown hardware, a cluster without it, or a store that cannot be used.
        ConfigError: a cluster file that cannot be read.

    Example:
        >>> from sweeper.api import load_sweep
        >>> planned = plan(load_sweep("quickstart"), storage=None)
        >>> planned.problems, list(planned.trials["model"].unique())
        ((), ['opt-tiny-32', 'opt-tiny-64', 'opt-tiny-96'])
    """
    sweep = sweep if isinstance(sweep, Sweep) else load_sweep(sweep)
    specs = load_hardware_specs()
    gpu = find_hardware_spec(hardware, specs) if hardware else None
    machines = read_cluster(Path(cluster)) if cluster else None
    cluster_gpus = machines.list_gpu_kinds(specs) if machines else []
    if gpu and machines:
        _check_gpu_in_cluster(gpu, cluster_gpus, machines)
    sweep = retarget_hardware(sweep, gpu) if gpu else sweep
    store = None if storage is None else Store.from_location(storage)
    planned = plan_sweep(sweep, store, gpu or (machines.find_smallest_gpu(specs) if machines else None))
    if store is None:
        return SweepPlan(planned)
    gpu_kinds = cluster_gpus or ([gpu] if gpu else [])
    nodes = machines.nodes if machines else None
    planned, makespan = estimate_plan(planned, store, specs, gpu_kinds=gpu_kinds, nodes=nodes)
    forecast = forecast_cluster(planned, machines, makespan) if machines else None
    return SweepPlan(planned, forecast, _observe_runs(planned, store))


def _observe_runs(planned: Plan, store: Store) -> ObservedRuns | None:
    """Return what the finished runs of a plan show; None if none has finished, and for a search."""
    if not (planned.estimate and planned.estimate.reused) or planned.parts or planned.sweep.search:
        return None
    tables = collect_study(planned, store)
    spread = measure_spread(list(planned.sweep.axes), tables.trials, tables.outcomes)
    return ObservedRuns(spread.seed_sd, spread.discordance, spread.collapse_rate)


def refuse_underpowered(planned: SweepPlan) -> None:
    """Refuse a plan with underpowered claims.

    Args:
        planned: the plan.

    Raises:
        UsageError: a claim whose minimum detectable effect exceeds its margin; the message gives the reason of each.
    """
    if planned.underpowered:
        lines = [f"claim {claim}: {reason}" for claim, reason in planned.underpowered.items()]
        hint = "to accept it: --accept-underpowered, or `accept_underpowered: true` in the sweep"
        raise UsageError(f"sweep {planned.sweep.name}", found="\n".join(lines), hint=hint)


def _check_gpu_in_cluster(gpu: HardwareSpec, cluster_gpus: list[HardwareSpec], cluster: ClusterSpec) -> None:
    if gpu.name not in {kind.name for kind in cluster_gpus}:
        raise UsageError(
            "--hardware",
            requested=f"{gpu.name} with cluster {cluster.name}",
            found=f"a cluster with {', '.join(kind.name for kind in cluster_gpus) or 'unknown GPUs'}",
            hint="give --hardware or --cluster, not both",
        )
