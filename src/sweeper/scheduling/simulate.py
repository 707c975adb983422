"""The schedule of a run, simulated with known durations. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeper.errors import UsageError
from sweeper.scheduling.resources import Node, ResourceLedger
from sweeper.scheduling.trial_queue import QueuedTrial, TrialQueue


@dataclass(frozen=True)
class ScheduledTrial:
    """One trial of a schedule; times in seconds after the start."""

    key: str
    nodes: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """The result of a simulation. Shares are NaN without GPUs or without time."""

    trials: tuple[ScheduledTrial, ...]
    """The trials in the order of their starts."""
    makespan: float
    """Seconds until the last trial ends."""
    lower_bound: float
    """Seconds that no schedule can undercut: all work spread evenly over all GPUs or cores, or the longest trial."""
    longest_seconds: float
    """Seconds of the longest trial."""
    utilization: float
    """GPU-seconds used / GPU-seconds available until the end."""
    peak_concurrency: int
    """Largest number of trials at once."""

    @property
    def efficiency(self) -> float:
        """Lower bound / makespan."""
        return self.lower_bound / self.makespan if self.makespan else math.nan


def simulate_schedule(nodes: Iterable[Node], trials: Sequence[QueuedTrial], patience: int | None = None) -> Schedule:
    """Run the queue with trials that take exactly their estimated seconds and start in no time.

    Args:
        nodes: the nodes of the cluster.
        trials: the trials, all with known seconds.
        patience: see `TrialQueue`.

    Raises:
        UsageError: a trial does not fit even when nothing else runs.
        ValueError: a trial's seconds are unknown.
    """
    nodes = list(nodes)
    seconds = {trial.key: trial.seconds for trial in trials}
    runs: list[ScheduledTrial] = []
    now, peak = 0.0, 0
    for phase in sorted({trial.phase for trial in trials}):
        queue = TrialQueue(
            nodes, _validate([trial for trial in trials if trial.phase == phase], ResourceLedger(nodes)), patience
        )
        ends: list[tuple[float, int, str]] = []
        while True:
            while (placed := queue.next_placement()) is not None:
                key, names = placed
                heapq.heappush(ends, (now + seconds[key], len(runs), key))
                runs.append(ScheduledTrial(key, names, now, now + seconds[key]))
            peak = max(peak, len(ends))
            if not ends:
                break
            now = ends[0][0]
            while ends and ends[0][0] == now:
                queue.finish(heapq.heappop(ends)[2])
    gpus, cpus = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
    gpu_seconds = math.fsum(trial.request.total_gpus * trial.seconds for trial in trials)
    cpu_seconds = math.fsum(trial.request.total_cpus * trial.seconds for trial in trials)
    longest = max(seconds.values(), default=0.0)
    return Schedule(
        trials=tuple(runs),
        makespan=now,
        lower_bound=max(gpu_seconds / gpus if gpus else 0.0, cpu_seconds / cpus if cpus else 0.0, longest),
        longest_seconds=longest,
        utilization=gpu_seconds / (gpus * now) if gpus and now else math.nan,
        peak_concurrency=peak,
    )


def _validate(trials: list[QueuedTrial], empty_ledger: ResourceLedger) -> list[QueuedTrial]:
    """Return the trials if all of them can be simulated."""
    for trial in trials:
        if not 0 <= trial.seconds < math.inf:
            raise ValueError(f"{trial.key}: {trial.seconds} seconds cannot be simulated")
        if not empty_ledger.fits_empty_cluster(trial.request):
            raise UsageError(
                f"trial {trial.key}",
                requested=str(trial.request),
                found="the cluster is too small for it, even when nothing else runs",
                hint="use a larger cluster, or fewer workers, CPUs or GPUs under `runtime` of the sweep",
            )
    return trials
