"""How long a plan takes on a cluster: estimated seconds of each trial, and the queue run over them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sweeper.spec import HardwareSpec
from sweeper.study.admission import Job, Ledger, Need, Node, max_concurrent, simulate
from sweeper.study.clusters import ClusterSpec
from sweeper.study.plan import Plan, PlannedTrial

RECOMPUTATION = 4 / 3
"""Forward passes are a third of training's FLOPs; gradient checkpointing does them twice."""
_HOUR = 3600


def training_seconds(
    flops: float | None,
    hardware: HardwareSpec,
    *,
    precision: str,
    gradient_checkpointing: bool,
    workers: int,
    gpus: float,
) -> float:
    """Seconds of training alone, from its model FLOPs (forward and backward); NaN where something is not known.

    The rate is model FLOPs utilisation x peak of the GPUs (Chowdhery et al. 2022, PaLM, section 4.1), so recomputation
    is added to the work. The utilisation is `HardwareSpec`'s: taken, not measured. A trial on a fraction of a GPU is
    given that fraction of its speed: sharing makes no FLOPs, and where small models together use a GPU better than one
    alone they end sooner than said here. Evaluation, starting and saving are not in it.
    """
    peak = next((value for name, value in hardware.tflops.items() if name == precision), None)
    if flops is None or peak is None or gpus == 0:
        return math.nan
    work = flops * (RECOMPUTATION if gradient_checkpointing else 1)
    return work / (workers * gpus * peak * 1e12 * hardware.utilisation)


def need_of(trial: PlannedTrial) -> Need:
    """What it takes while it trains."""
    runtime = trial.spec.runtime
    return Need(runtime.workers, runtime.cpus, runtime.gpus)


def trial_seconds(trial: PlannedTrial, kinds: Iterable[HardwareSpec]) -> float:
    """Seconds of its training on the slowest of these GPUs; NaN without one, or where something is not known."""
    recipe, runtime = trial.spec.recipe, trial.spec.runtime
    found = [
        training_seconds(
            trial.planned_train_flops,
            kind,
            precision=recipe.precision,
            gradient_checkpointing=recipe.gradient_checkpointing,
            workers=runtime.workers,
            gpus=runtime.gpus,
        )
        for kind in kinds
    ]
    return math.nan if not found or any(map(math.isnan, found)) else max(found)


def forecast_document(plan: Plan, cluster: ClusterSpec, hardware: Mapping[str, HardwareSpec]) -> dict[str, Any]:
    """What `plan --cluster` prints as `cluster`: how many trials at once, and how long. Unknown is NaN, with `reasons`.

    `hardware` are the kinds of GPU by name. Trials that are in the store already count as if they were not.
    """
    names = sorted({name for name in cluster.hardware.values() if name is not None and name in hardware})
    unnamed = sorted(kind for kind, name in cluster.hardware.items() if name is None or name not in hardware)
    kinds = [] if unnamed else [hardware[name] for name in names]
    jobs = [Job(str(i), need_of(trial), trial_seconds(trial, kinds)) for i, trial in enumerate(plan.trials)]
    nodes = cluster.nodes
    problems = _unplaceable(plan, nodes)
    reasons = _reasons(plan, jobs, unnamed, kinds)
    document: dict[str, Any] = {
        "cluster": cluster.name,
        "nodes": len(nodes),
        "cpus": sum(node.cpus for node in nodes),
        "gpus": cluster.gpus,
        "hardware": names,
        "concurrency": max_concurrent(nodes, jobs),
        "peak": math.nan,
        "makespan_hours": math.nan,
        "lower_bound_hours": math.nan,
        "longest_hours": math.nan,
        "utilisation": math.nan,
        "efficiency": math.nan,
        "assumed_utilisation": {kind.name: kind.utilisation for kind in kinds},
        "trials": [
            {"fingerprint": t.fingerprint, "model": t.spec.model.name, "seed": t.spec.seed, "seconds": job.seconds}
            for t, job in zip(plan.trials, jobs, strict=True)
        ],
        "problems": problems,
        "reasons": reasons,
    }
    if not problems and not reasons:
        found = simulate(nodes, jobs)
        document |= {
            "concurrency": max(document["concurrency"], found.peak),
            "peak": found.peak,
            "makespan_hours": found.makespan / _HOUR,
            "lower_bound_hours": found.lower_bound / _HOUR,
            "longest_hours": found.longest / _HOUR,
            "utilisation": found.utilisation,
            "efficiency": found.efficiency,
        }
    return document


def _unplaceable(plan: Plan, nodes: tuple[Node, ...]) -> list[str]:
    """One sentence for each model and need that fits no node, however empty."""
    ledger = Ledger(nodes)
    counts: dict[tuple[str, Need], int] = {}
    for trial in plan.trials:
        if not ledger.could_ever(need := need_of(trial)):
            counts[trial.spec.model.name, need] = counts.get((trial.spec.model.name, need), 0) + 1
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
    return [
        f"{model} ({_many(count, 'trial')}) asks for {need}: that does not fit the cluster even when nothing else "
        f"runs; it has {_many(len(nodes), 'machine')}, the largest with {largest.cpus:g} CPUs and "
        f"{_many(largest.gpus, 'GPU')}"
        for (model, need), count in counts.items()
    ]


def _reasons(plan: Plan, jobs: list[Job], unnamed: list[str], kinds: list[HardwareSpec]) -> list[str]:
    """Why there are no seconds, each thing once."""
    lacking = [trial for trial, job in zip(plan.trials, jobs, strict=True) if math.isnan(job.seconds)]
    if not lacking:
        return []
    reasons = []
    if any(trial.spec.runtime.gpus == 0 for trial in lacking):
        reasons.append("trials without a GPU: nothing is known of the speed of CPUs")
    if unnamed:
        reasons.append(f"no file of configs/hardware/ names the machines of {', '.join(unnamed)} under `instances`")
    if any(trial.planned_train_flops is None for trial in lacking):
        reasons.append("data not prepared, or the model's FLOPs are not known: `sweeper data prepare …` first")
    wanted = sorted({trial.spec.recipe.precision for trial in lacking})
    for kind in kinds:
        if missing := [precision for precision in wanted if precision not in kind.tflops]:
            reasons.append(f"{kind.name} has no `tflops` of {', '.join(missing)}")
    return reasons


def cluster_lines(document: dict[str, Any]) -> list[str]:
    """The forecast for people, a line each."""
    kinds = f" ({', '.join(document['hardware'])})" if document["hardware"] else ""
    lines = [
        f"cluster {document['cluster']}: {_many(document['nodes'], 'machine')}, {document['cpus']:g} CPUs, "
        f"{_many(document['gpus'], 'GPU')}{kinds}; at most {_many(document['concurrency'], 'trial')} at once"
    ]
    if math.isnan(document["makespan_hours"]):
        lines += [f"makespan unknown: {reason}" for reason in document["reasons"]]
    else:
        assumed = ", ".join(f"{share:.0%} of {name}" for name, share in document["assumed_utilisation"].items())
        lines += [
            f"makespan {document['makespan_hours']:.1f} h, no order could make it less than "
            f"{document['lower_bound_hours']:.1f} h; GPUs in use {document['utilisation']:.0%}, "
            f"longest trial {document['longest_hours']:.1f} h",
            f"training alone, all machines there from the start, at {assumed} (taken, not measured)",
        ]
    return lines


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
