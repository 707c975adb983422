"""Wall time of trials on a cluster: the trial queue, simulated over the estimated seconds. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from sweeper.config import UNKNOWN_ESTIMATE, ZERO_ESTIMATE, Estimate, sum_estimates
from sweeper.planning.cluster_files import ClusterSpec
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.scheduling import (
    Node,
    QueuedTrial,
    ResourceLedger,
    ResourceRequest,
    Schedule,
    count_max_concurrent,
    simulate_schedule,
)
from sweeper.storage import JsonObject

MAX_SIMULATED_TRIALS = 3_000
"""With more trials, only the expected time is simulated; the ends of the range are scaled by the work."""
RUN_START_SECONDS = 15
"""Time until the first worker starts its first trial, mostly imports. Assumed; imports took 10 s on two CPU cores."""
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Makespan:
    """Wall time of trials on machines; unknown if there are reasons or problems."""

    seconds: Estimate
    schedule: Schedule | None
    """The simulated schedule, with the expected seconds of each trial."""
    reasons: tuple[str, ...] = ()
    """Why the time is unknown."""
    problems: tuple[str, ...] = ()
    """Trials that never fit, one sentence each."""


def build_resource_request(trial: PlannedTrial) -> ResourceRequest:
    """Return the resources of a trial while it trains."""
    runtime = trial.spec.runtime
    return ResourceRequest(runtime.workers, runtime.cpus, runtime.gpus)


def choose_default_nodes(trials: Sequence[PlannedTrial], cores: float) -> tuple[Node, ...]:
    """Choose the machines of a plan for which no cluster is given.

    Args:
        trials: the trials to place.
        cores: CPU cores of this machine, which runs the trials without a GPU.

    Returns:
        This machine, and one machine with as many GPUs as the largest trial needs and the cores to use them all.
    """
    needs = {build_resource_request(trial) for trial in trials}
    on_gpus = [need for need in needs if need.gpus]
    nodes = [Node("this machine", cores, 0)] if len(on_gpus) < len(needs) else []
    if on_gpus:
        gpus = max(math.ceil(need.total_gpus) for need in on_gpus)
        nodes.append(Node("one machine", gpus * max(need.cpus / need.gpus for need in on_gpus), gpus))
    return tuple(nodes)


def simulate_makespan(trials: Sequence[PlannedTrial], seconds: Sequence[Estimate], nodes: Sequence[Node]) -> Makespan:
    """Simulate the queue of a run.

    Args:
        trials: the trials to run.
        seconds: estimated seconds of each trial.
        nodes: the machines.
    """
    if not trials:
        return Makespan(ZERO_ESTIMATE, None)
    if problems := _find_unplaceable(trials, nodes):
        return Makespan(UNKNOWN_ESTIMATE, None, problems=problems)
    if not all(amount.is_known for amount in seconds):
        return Makespan(UNKNOWN_ESTIMATE, None, reasons=("the time of a trial is unknown",))
    expected = _simulate_bound(trials, seconds, nodes, "expected")
    if len(trials) > MAX_SIMULATED_TRIALS:
        whole = sum_estimates(seconds)
        low, high = (expected.makespan / whole.expected * end for end in (whole.low, whole.high))
    else:
        low, high = (_simulate_bound(trials, seconds, nodes, end).makespan for end in ("low", "high"))
    start = RUN_START_SECONDS
    return Makespan(Estimate(start + low, start + expected.makespan, start + high), expected)


def _simulate_bound(
    trials: Sequence[PlannedTrial],
    seconds: Sequence[Estimate],
    nodes: Sequence[Node],
    bound: Literal["low", "expected", "high"],
) -> Schedule:
    jobs = [
        _make_queued_trial(i, *row)
        for i, row in enumerate(zip(trials, (getattr(each, bound) for each in seconds), strict=True))
    ]
    return simulate_schedule(nodes, jobs)


@dataclass(frozen=True)
class ClusterForecast:
    """How a cluster would run a plan: trials at once, wall time and use of its machines. NaN if unknown."""

    cluster: ClusterSpec
    makespan: Makespan
    max_concurrent: int
    """Trials that can run at the same time."""

    def to_document(self) -> JsonObject:
        """Return the forecast as `plan --cluster --json` prints it under `cluster`."""
        cluster, makespan, schedule = self.cluster, self.makespan, self.makespan.schedule
        return {
            "cluster": cluster.name,
            "nodes": len(cluster.nodes),
            "cpus": sum(node.cpus for node in cluster.nodes),
            "gpus": cluster.total_gpus,
            "hardware": sorted({name for name in cluster.gpu_names.values() if name is not None}),
            "concurrency": self.max_concurrent,
            "peak": schedule.peak_concurrency if schedule else math.nan,
            "makespan_hours": makespan.seconds.expected / _SECONDS_PER_HOUR,
            "lower_bound_hours": schedule.lower_bound / _SECONDS_PER_HOUR if schedule else math.nan,
            "longest_hours": schedule.longest_seconds / _SECONDS_PER_HOUR if schedule else math.nan,
            "utilisation": schedule.utilization if schedule else math.nan,
            "efficiency": schedule.efficiency if schedule else math.nan,
            "problems": list(makespan.problems),
            "reasons": list(makespan.reasons),
        }

    def format_lines(self) -> list[str]:
        """Format the forecast for people."""
        document = self.to_document()
        kinds = f" ({', '.join(document['hardware'])})" if document["hardware"] else ""
        lines = [
            f"cluster {document['cluster']}: {_pluralize(document['nodes'], 'machine')}, {document['cpus']:g} CPUs, "
            f"{_pluralize(document['gpus'], 'GPU')}{kinds}; at most {_pluralize(document['concurrency'], 'trial')} "
            "at once"
        ]
        if math.isnan(document["makespan_hours"]):
            return lines + [f"makespan unknown: {reason}" for reason in document["reasons"]]
        if math.isnan(document["lower_bound_hours"]):
            return lines
        used = "" if math.isnan(document["utilisation"]) else f"GPUs in use {document['utilisation']:.0%}, "
        return [
            *lines,
            f"makespan {document['makespan_hours']:.1f} h if all machines are available from the start (lower bound "
            f"{document['lower_bound_hours']:.1f} h); {used}longest trial {document['longest_hours']:.1f} h",
        ]


def forecast_cluster(plan: Plan, cluster: ClusterSpec, makespan: Makespan) -> ClusterForecast:
    """Forecast how a cluster would run the trials of a plan that the store does not have.

    Args:
        plan: a plan with estimates.
        cluster: the cluster at its full size.
        makespan: wall time of the plan on that cluster.
    """
    pending = [trial for trial in plan.trials if not (trial.estimate and trial.estimate.remaining.is_nothing)]
    jobs = [_make_queued_trial(i, trial, math.nan) for i, trial in enumerate(pending)]
    concurrency = count_max_concurrent(cluster.nodes, jobs)
    if makespan.schedule:
        concurrency = max(concurrency, makespan.schedule.peak_concurrency)
    return ClusterForecast(cluster, makespan, concurrency)


def _make_queued_trial(number: int, trial: PlannedTrial, seconds: float) -> QueuedTrial:
    return QueuedTrial(
        str(number),
        build_resource_request(trial),
        seconds,
        _get_phase(trial),
    )


def _get_phase(trial: PlannedTrial) -> int:
    """Return the order in which a run starts a trial: listed trials, their branches, a search, its confirmations."""
    match trial.role:
        case "":
            return 0 if trial.spec.branch is None else 1
        case "anchor" | "explore":
            return 2
        case "confirm":
            return 3
        case _:
            assert_never(trial.role)


def _find_unplaceable(trials: Sequence[PlannedTrial], nodes: Sequence[Node]) -> tuple[str, ...]:
    """Describe each model and resource request that does not fit the empty cluster."""
    ledger = ResourceLedger(nodes)
    counts: dict[tuple[str, ResourceRequest], int] = {}
    for trial in trials:
        if not ledger.fits_empty_cluster(need := build_resource_request(trial)):
            counts[trial.spec.model.name, need] = counts.get((trial.spec.model.name, need), 0) + 1
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
    return tuple(
        f"{model} ({_pluralize(count, 'trial')}) needs {need}: too much even for the empty "
        f"cluster, which has {_pluralize(len(nodes), 'machine')}, the largest with {largest.cpus:g} CPUs and "
        f"{_pluralize(largest.gpus, 'GPU')}"
        for (model, need), count in counts.items()
    )


def _pluralize(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
