"""How well does admission fill a cluster? A mixed sweep on simulated clusters of 1 to 64 nodes: at least 90 %.

    python benchmarks/scaling.py [--seeds N] [--arms N] [--cpus N] [--gpus N]

Efficiency is the lower bound (all work spread evenly over the cluster, or the longest trial) over the makespan. Three
sweeps, each the same on every cluster: a study (3 sizes x 24 arms x 10 seeds by default; arms train for 1, 2 or 3
epochs in turn), a quarter of it (6 arms), and a small one of 60 trials (20 seeds, one epoch). OPT-125M has half a GPU,
OPT-350M one, OPT-1.3B is a gang of four. The aim is the study's: the others have too few trials for the large clusters.

Nothing is trained. Seconds are `sweeper plan`'s arithmetic: FLOPs of the sizes of sweeps/scaling.yaml in its recipe, on
configs/hardware/a10g.yaml at the utilisation taken there; an epoch is at most 187,542 examples of 2,048 tokens
(docs/cluster.md). Every trial takes exactly its seconds and machines start at once, so this measures packing alone.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any

from row import Row, finish

from sweeper import models
from sweeper.config import find_sweep, load_hardware_specs, load_sweep
from sweeper.planning.cost_model import RECOMPUTATION_FACTOR, estimate_training_seconds
from sweeper.scheduling import Node, QueuedTrial, ResourceRequest, Schedule, simulate_schedule

EXAMPLES, LENGTH = 187_542, 2_048
CLUSTERS = (1, 2, 4, 8, 16, 32, 64)
NEEDS = {
    "opt-125m": ResourceRequest(1, 4, 0.5),
    "opt-350m": ResourceRequest(1, 4, 1),
    "opt-1.3b": ResourceRequest(4, 4, 1),
}
AIM = ">= 0.9"


def epoch_seconds() -> dict[str, float]:
    """Model -> seconds of one epoch with what it is given."""
    sweep, gpu = load_sweep(find_sweep("scaling")), load_hardware_specs()["a10g"]
    again = RECOMPUTATION_FACTOR if sweep.recipe.gradient_checkpointing else 1
    steps = math.ceil(EXAMPLES / sweep.recipe.effective_batch_size)
    return {
        name: estimate_training_seconds(
            again * models.compute_train_flops(models.load_config(sweep.models[name], 0), EXAMPLES * LENGTH, LENGTH),
            steps,
            gpu,
            precision=sweep.recipe.precision,
            devices=need.total_gpus,
        ).expected
        for name, need in NEEDS.items()
    }


def mixed(arms: int, seeds: int, epochs: tuple[int, ...]) -> list[QueuedTrial]:
    """A sweep of every size; arms differ in epochs in turn."""
    seconds = epoch_seconds()
    return [
        QueuedTrial(f"{name} arm {arm} seed {seed}", need, seconds[name] * epochs[arm % len(epochs)])
        for name, need in NEEDS.items()
        for arm in range(arms)
        for seed in range(seeds)
    ]


def measure(sweep: str, jobs: list[QueuedTrial], nodes: int, cpus: int, gpus: int) -> dict[str, Any]:
    """One sweep on one cluster."""
    cluster = [Node(f"node-{i}", cpus, gpus) for i in range(nodes)]
    started = time.monotonic()
    found = simulate_schedule(cluster, jobs)
    seconds = time.monotonic() - started
    needs, end = {job.key: job.request for job in jobs}, found.makespan - found.longest_seconds
    return {
        "sweep": sweep,
        "trials": len(jobs),
        "nodes": nodes,
        "gpus": nodes * gpus,
        "makespan_hours": found.makespan / 3600,
        "lower_bound_hours": found.lower_bound / 3600,
        "longest_hours": found.longest_seconds / 3600,
        "efficiency": found.efficiency,
        "utilisation": found.utilization,
        "peak": found.peak_concurrency,
        "utilisation_before_end": in_use(found, needs, nodes * gpus, 0.0, end),
        "utilisation_at_end": in_use(found, needs, nodes * gpus, end, found.makespan),
        "seconds": seconds,
    }


def why(row: dict[str, Any]) -> str:
    """How much of it is the end, when too few trials are left to fill the cluster."""
    return (
        f"{row['sweep']} on {row['nodes']} nodes: {row['efficiency']:.0%}. GPUs in use until one longest trial before "
        f"the end: {row['utilisation_before_end']:.0%}, after: {row['utilisation_at_end']:.0%} (the makespan is "
        f"{row['makespan_hours'] / row['longest_hours']:.1f} longest trials)"
    )


def in_use(found: Schedule, needs: dict[str, ResourceRequest], gpus: int, since: float, until: float) -> float:
    """Share of GPU-seconds used in a part of the schedule; NaN for none."""
    used = sum(max(min(run.end, until) - max(run.start, since), 0) * needs[run.key].total_gpus for run in found.trials)
    return used / (gpus * (until - since)) if until > since else math.nan


def main() -> int:
    """Simulate all, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--arms", type=int, default=24)
    parser.add_argument("--cpus", type=int, default=48)
    parser.add_argument("--gpus", type=int, default=4)
    asked = parser.parse_args()
    sweeps = {
        "study": mixed(asked.arms, asked.seeds, (1, 2, 3)),
        "quarter": mixed(asked.arms // 4, asked.seeds, (1, 2, 3)),
        "small": mixed(1, 20, (1,)),
    }
    for name, seconds in epoch_seconds().items():
        print(f"{name}: {NEEDS[name]}, {seconds / 3600:.1f} h an epoch")
    print("sweep   trials nodes GPUs  makespan  lower bound  longest  efficiency  GPUs in use  at once  simulated in")
    rows = [measure(name, jobs, n, asked.cpus, asked.gpus) for name, jobs in sweeps.items() for n in CLUSTERS]
    for row in rows:
        print(
            f"{row['sweep']:<7} {row['trials']:>6} {row['nodes']:>5} {row['gpus']:>4} {row['makespan_hours']:>7.1f} h "
            f"{row['lower_bound_hours']:>10.1f} h {row['longest_hours']:>6.1f} h {row['efficiency']:>11.1%} "
            f"{row['utilisation']:>12.1%} {row['peak']:>8} {row['seconds']:>11.2f} s"
        )
    short = [row for row in rows if row["efficiency"] < float(AIM.split()[1])]
    for row in short:
        print(why(row))
    plain = [{k: None if v != v else v for k, v in row.items()} for row in rows]
    return finish(
        [
            Row(
                f"filling a cluster with a {name} of {len(jobs)} trials, 1 to 64 nodes",
                "of the lower bound",
                [row["efficiency"] for row in rows if row["sweep"] == name],
                aim=AIM if name == "study" else "",
                limit=1.0,
                limit_is="all work spread evenly, or the longest trial",
            )
            for name, jobs in sweeps.items()
        ],
        epoch_seconds=epoch_seconds(),
        clusters=plain,
    )


if __name__ == "__main__":
    sys.exit(main())
