"""How long trials take on machines: the queue of admission run over the seconds that `costs` predicts. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.study.costs.trial import UNKNOWN, Amount, total
from sweeper.study.placing.clusters import ClusterSpec
from sweeper.study.placing.queue import Job, Ledger, Need, Node, Schedule, max_concurrent, simulate
from sweeper.study.plan import Plan, PlannedTrial

SIMULATED = 3_000
"""Of more trials only the expected time is simulated, and the ends of its range are in proportion to their work."""
RUN_START_SECONDS = 15
"""Until the first worker takes its first trial: imports, mostly. Taken; they took 10 s on two CPU cores."""
_HOUR = 3600


@dataclass(frozen=True)
class Wall:
    """Wall time of trials on machines, seconds; unknown with the `reasons`, and with `problems` that no time mends."""

    seconds: Amount
    schedule: Schedule | None
    """With the expected seconds."""
    reasons: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def need_of(trial: PlannedTrial) -> Need:
    """What it takes while it trains."""
    runtime = trial.spec.runtime
    return Need(runtime.workers, runtime.cpus, runtime.gpus)


def machines_for(trials: Sequence[PlannedTrial], cores: float) -> tuple[Node, ...]:
    """Where no cluster is given: this machine, of so many `cores`, for trials without a GPU, and for the others one
    with as many GPUs as the largest of them needs, and the cores to fill them."""
    needs = {need_of(trial) for trial in trials}
    on_gpus = [need for need in needs if need.gpus]
    nodes = [Node("this machine", cores, 0)] if len(on_gpus) < len(needs) else []
    if on_gpus:
        gpus = max(math.ceil(need.all_gpus) for need in on_gpus)
        nodes.append(Node("one machine", gpus * max(need.cpus / need.gpus for need in on_gpus), gpus))
    return tuple(nodes)


def wall_of(trials: Sequence[PlannedTrial], seconds: Sequence[Amount], nodes: Sequence[Node]) -> Wall:
    """Simulate the queue of a run over trials that take `seconds` each, as low, expected and high as they may be."""
    if not trials:
        return Wall(Amount(0.0, 0.0, 0.0), None)
    if problems := _unplaceable(trials, nodes):
        return Wall(UNKNOWN, None, problems=problems)
    if not all(amount.known for amount in seconds):
        return Wall(UNKNOWN, None, reasons=("what a trial takes is not known",))
    expected = _simulated(trials, seconds, nodes, "expected")
    if len(trials) > SIMULATED:
        whole = total(seconds)
        low, high = (expected.makespan / whole.expected * end for end in (whole.low, whole.high))
    else:
        low, high = (_simulated(trials, seconds, nodes, end).makespan for end in ("low", "high"))
    start = RUN_START_SECONDS
    return Wall(Amount(start + low, start + expected.makespan, start + high), expected)


def _simulated(trials: Sequence[PlannedTrial], seconds: Sequence[Amount], nodes: Sequence[Node], end: str) -> Schedule:
    jobs = [_job(i, *row) for i, row in enumerate(zip(trials, (getattr(each, end) for each in seconds), strict=True))]
    return simulate(nodes, jobs)


def cluster_document(plan: Plan, cluster: ClusterSpec, wall: Wall) -> dict[str, Any]:
    """What `plan --cluster` prints as `cluster`: how many trials at once, how long, and how well the machines are used.

    Trials that the store has are not in it. NaN where something is not known, with `reasons`.
    """
    pending = [trial for trial in plan.trials if not (trial.predicted and trial.predicted.left.nothing)]
    jobs = [_job(i, trial, math.nan) for i, trial in enumerate(pending)]
    schedule = wall.schedule
    concurrency = max_concurrent(cluster.nodes, jobs)
    return {
        "cluster": cluster.name,
        "nodes": len(cluster.nodes),
        "cpus": sum(node.cpus for node in cluster.nodes),
        "gpus": cluster.gpus,
        "hardware": sorted({name for name in cluster.hardware.values() if name is not None}),
        "concurrency": max(concurrency, schedule.peak) if schedule else concurrency,
        "peak": schedule.peak if schedule else math.nan,
        "makespan_hours": wall.seconds.expected / _HOUR,
        "lower_bound_hours": schedule.lower_bound / _HOUR if schedule else math.nan,
        "longest_hours": schedule.longest / _HOUR if schedule else math.nan,
        "utilisation": schedule.utilisation if schedule else math.nan,
        "efficiency": schedule.efficiency if schedule else math.nan,
        "problems": list(wall.problems),
        "reasons": list(wall.reasons),
    }


def cluster_lines(document: dict[str, Any]) -> list[str]:
    """The forecast for people, a line each."""
    kinds = f" ({', '.join(document['hardware'])})" if document["hardware"] else ""
    lines = [
        f"cluster {document['cluster']}: {_many(document['nodes'], 'machine')}, {document['cpus']:g} CPUs, "
        f"{_many(document['gpus'], 'GPU')}{kinds}; at most {_many(document['concurrency'], 'trial')} at once"
    ]
    if math.isnan(document["makespan_hours"]):
        return lines + [f"makespan unknown: {reason}" for reason in document["reasons"]]
    if math.isnan(document["lower_bound_hours"]):
        return lines
    used = "" if math.isnan(document["utilisation"]) else f"GPUs in use {document['utilisation']:.0%}, "
    return [
        *lines,
        f"makespan {document['makespan_hours']:.1f} h with all machines there from the start, no order could make it "
        f"less than {document['lower_bound_hours']:.1f} h; {used}longest trial {document['longest_hours']:.1f} h",
    ]


def _job(number: int, trial: PlannedTrial, seconds: float) -> Job:
    return Job(
        str(number), need_of(trial), seconds, _PHASES[trial.role] if trial.role else trial.spec.branch is not None
    )


_PHASES = {"anchor": 2, "explore": 2, "confirm": 3}
"""What a search proposes comes after the listed trials (0) and the branches of these (1), and then what it confirms."""


def _unplaceable(trials: Sequence[PlannedTrial], nodes: Sequence[Node]) -> tuple[str, ...]:
    """One sentence for each model and need that fits no node, however empty."""
    ledger = Ledger(nodes)
    counts: dict[tuple[str, Need], int] = {}
    for trial in trials:
        if not ledger.could_ever(need := need_of(trial)):
            counts[trial.spec.model.name, need] = counts.get((trial.spec.model.name, need), 0) + 1
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
    return tuple(
        f"{model} ({_many(count, 'trial')}) asks for {need}: that does not fit the cluster even when nothing else "
        f"runs; it has {_many(len(nodes), 'machine')}, the largest with {largest.cpus:g} CPUs and "
        f"{_many(largest.gpus, 'GPU')}"
        for (model, need), count in counts.items()
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
