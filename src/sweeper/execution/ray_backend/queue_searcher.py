"""The trial queue as a search algorithm of Ray Tune: a trial is suggested once all of its workers have a place."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TypedDict

import ray
from ray.autoscaler.sdk import request_resources
from ray.tune.search import Searcher

from sweeper.errors import LostWorkerError
from sweeper.execution.failures import record_failure
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.ray_backend.train import HEAD_NODE_RESOURCE, make_bundle
from sweeper.execution.trial_source import TrialSource
from sweeper.planning.makespan import build_resource_request
from sweeper.planning.plan import PlannedTrial
from sweeper.scheduling import Node, QueuedTrial, ResourceRequest, TrialQueue
from sweeper.storage import Store
from sweeper.training import Pruner, TrialProgress, TrialRow

LOST_WORKER_RETRIES = 3
"""Times that a trial resumes from its checkpoint after it lost a worker without having made progress. Progress resets
the count: a long trial on spot machines can lose many workers. Errors of the trial itself are not retried."""
MAX_SAME_FAILURES = 5
"""The study stops after this many trials in a row that failed with the same message: the next would fail too."""
NO_NODE_TIMEOUT_SECONDS = 900.0
"""Time after which trials that fit no node are failed. An autoscaler needs minutes to add one."""
_NODE_REFRESH_SECONDS = 2.0


class TuneConfig(TypedDict):
    """What Tune passes to a trial's actor."""

    fingerprint: str
    name: str
    """Name of the trial in Tune's output."""
    nodes: tuple[str, ...]
    """Ray's id of the node of each worker."""
    pinned: bool
    """Whether the actor itself runs on that node; else only its workers do."""
    bundle: dict[str, float]
    """Ray resources of the actor."""
    proposed: tuple[PlannedTrial, Pruner | None] | None
    """The trial where a search proposed it; the driver shares all others with the actors before they start."""


class RayQueueSearcher(Searcher):  # type: ignore[misc]
    """Suggests a trial to Tune once it has a place, and queues a trial again if its worker is lost.

    Args:
        trial_source: where the trials come from; it receives the row of each.
        nodes: the nodes of the cluster.
        store: where trials that are given up are recorded as failed.
        display: the progress display.
    """

    def __init__(self, trial_source: TrialSource, nodes: list[Node], store: Store, display: ProgressDisplay) -> None:
        super().__init__()
        self.trial_source, self.store, self.display = trial_source, store, display
        self.trials = {trial.fingerprint: trial for trial in trial_source.known_trials}
        self.queue = TrialQueue(nodes, [_make_queued_trial(trial) for trial in trial_source.known_trials])
        self._is_source_exhausted = not trial_source.proposes_trials
        self._fingerprints: dict[str, str] = {}
        self._lost_workers: Counter[str] = Counter()
        """Trial -> workers lost since it last made progress."""
        self._furthest_steps: dict[str, float] = {}
        """Trial -> the furthest optimizer step it had reached when it last lost a worker."""
        self._last_steps: dict[str, float] = {}
        """Trial -> the last optimizer step it reported."""
        self._total_lost_workers = 0
        self.stranded_trial_ids: set[str] = set()
        """Tune's ids of trials that were placed on a node that is gone."""
        self._recent_failures: list[str] = []
        self._nodes_refreshed_at = self._usage_measured_at = self._last_change_at = time.monotonic()
        self._busy_gpu_seconds = self._available_gpu_seconds = 0.0
        self._requested_bundles: list[dict[str, float]] = []

    def suggest(self, trial_id: str) -> TuneConfig | str | None:
        """Return the next trial that has a place, None if none has one now, or `FINISHED`."""
        self.refresh_nodes()
        if self._is_stopped():
            return str(Searcher.FINISHED)
        self._enqueue_next_trial()
        while True:
            if self.queue.is_empty:
                return str(Searcher.FINISHED)
            placement = self.queue.next_placement()
            if placement is None:
                return str(Searcher.FINISHED) if self._give_up_unplaceable() else None
            fingerprint, nodes = placement
            if self.trial_source.reserve_budget(self.trials[fingerprint]):
                break
            self.queue.finish(fingerprint)  # left for a later run with a larger budget
            self._is_source_exhausted = True
        self._fingerprints[trial_id] = fingerprint
        self._last_change_at = time.monotonic()
        trial = self.trials[fingerprint]
        return TuneConfig(
            fingerprint=fingerprint,
            name=format_trial_name(trial),
            nodes=nodes,
            pinned=not trial.is_multi_worker,
            bundle={HEAD_NODE_RESOURCE: 0.001} if trial.is_multi_worker else make_bundle(trial.spec.runtime),
            proposed=(trial, self.trial_source.get_pruner(trial)) if self.trial_source.proposes_trials else None,
        )

    def _enqueue_next_trial(self) -> None:
        """Take one more trial from the source if none waits. The later a search proposes, the more results it has."""
        limit = self.trial_source.max_concurrent
        is_full = limit is not None and len(self.queue.placements) >= limit
        if self._is_source_exhausted or self.queue.waiting_keys or is_full:
            return
        trial = self.trial_source.next_trial()
        if trial is not None:
            self.trials[trial.fingerprint] = trial
            self.queue.add(_make_queued_trial(trial))

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Handle a report of a trial. Its row releases its place at once, so that the next trial can reuse its actor;
        Tune stops the actor when the trial completes."""
        fingerprint = self._fingerprints.get(trial_id)
        if fingerprint is None:
            return
        progress = result.get("progress")
        if isinstance(progress, TrialProgress) and progress.training is not None:
            self._last_steps[fingerprint] = progress.training.step
        if isinstance(row := result.get("row"), TrialRow):
            self._finish_trial(trial_id, row)
        elif isinstance(progress, TrialProgress) and progress.stage == "evaluating":
            trial = self.trials[fingerprint]
            if not trial.is_multi_worker:
                return
            runtime = trial.spec.runtime
            self.queue.shrink(fingerprint, ResourceRequest(1, runtime.cpus, runtime.gpus))

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        """Handle a trial that ended without a row: its worker or its node was lost."""
        fingerprint = self._fingerprints.get(trial_id)
        if fingerprint is None:
            return
        self._last_change_at = time.monotonic()
        stranded = trial_id in self.stranded_trial_ids  # it had not started
        self._total_lost_workers += not stranded
        if self._last_steps.get(fingerprint, 0.0) > self._furthest_steps.get(fingerprint, 0.0):
            self._furthest_steps[fingerprint] = self._last_steps[fingerprint]
            self._lost_workers[fingerprint] = 0
        self._lost_workers[fingerprint] += not stranded
        if self._lost_workers[fingerprint] <= LOST_WORKER_RETRIES:
            del self._fingerprints[trial_id]
            self.refresh_nodes(force=True)  # so that it is not placed on the node that has just died
            self.queue.requeue(fingerprint)
            outcome = "the study stops before it is retried" if self._is_stopped() else "it resumes from its checkpoint"
            self.display.print_line(f"{fingerprint}: its {'node' if stranded else 'worker'} was lost; {outcome}")
            return
        reason = f"its worker was lost {self._lost_workers[fingerprint]} times without progress"
        self._finish_trial(trial_id, _fail_lost_trial(self.trials[fingerprint], self.store, reason, self.display))

    def _finish_trial(self, trial_id: str, row: TrialRow) -> None:
        self._measure_gpu_usage()
        self._last_change_at = time.monotonic()
        self.queue.finish(self._fingerprints.pop(trial_id))
        self.trial_source.on_trial_end(row)
        failure = row.failure.message if row.failure else ""
        self._recent_failures = [*self._recent_failures, failure][-MAX_SAME_FAILURES:]
        if self._is_stopped():
            self.display.print_line(f"stopped: the last {MAX_SAME_FAILURES} trials all failed with {failure}")

    def _is_stopped(self) -> bool:
        """Return whether the last trials all failed with the same message."""
        return (
            len(self._recent_failures) == MAX_SAME_FAILURES
            and len(set(self._recent_failures)) == 1
            and self._recent_failures[0] != ""
        )

    def _give_up_unplaceable(self) -> bool:
        """Fail the waiting trials if nothing runs and none has fitted a node for a long time; return whether it did."""
        if self.queue.placements or time.monotonic() - self._last_change_at < NO_NODE_TIMEOUT_SECONDS:
            return False
        for fingerprint in self.queue.waiting_keys:
            request = build_resource_request(self.trials[fingerprint])
            reason = f"no node had {request} within {NO_NODE_TIMEOUT_SECONDS:.0f} s"
            _fail_lost_trial(self.trials[fingerprint], self.store, reason, self.display)
        return True

    def refresh_nodes(self, force: bool = False) -> None:
        """Read the nodes of the cluster, and request nodes for what waits. At most every two seconds unless forced."""
        if not force and time.monotonic() - self._nodes_refreshed_at < _NODE_REFRESH_SECONDS:
            return
        self._nodes_refreshed_at = time.monotonic()
        self._measure_gpu_usage()
        lost = set(self.queue.update_nodes(list_ray_nodes()))
        self.stranded_trial_ids = {
            trial_id for trial_id, fingerprint in self._fingerprints.items() if fingerprint in lost
        }
        runtimes = [
            self.trials[fingerprint].spec.runtime for fingerprint in (*self.queue.placements, *self.queue.waiting_keys)
        ]
        self.request_nodes([make_bundle(runtime) for runtime in runtimes for _ in range(runtime.workers)])

    def request_nodes(self, bundles: list[dict[str, float]]) -> None:
        """Request room for these bundles from the autoscaler, if the cluster has one."""
        if bundles != self._requested_bundles:
            request_resources(bundles=bundles)
            self._requested_bundles = bundles

    def _measure_gpu_usage(self) -> None:
        now, gpus = time.monotonic(), sum(node.gpus for node in self.queue.ledger.nodes)
        if gpus:
            self._busy_gpu_seconds += self.queue.ledger.utilization * gpus * (now - self._usage_measured_at)
            self._available_gpu_seconds += gpus * (now - self._usage_measured_at)
        self._usage_measured_at = now

    def format_summary(self) -> str:
        """Summarize lost workers and the use of the cluster's GPUs; empty without either."""
        self._measure_gpu_usage()
        parts = [f"{self._total_lost_workers} workers lost"] if self._total_lost_workers else []
        if self._available_gpu_seconds:
            share = self._busy_gpu_seconds / self._available_gpu_seconds
            parts.append(f"GPUs in use {share:.0%} of {self._available_gpu_seconds / 3600:.2f} GPU-hours")
        return "; ".join(parts)

    def __getstate__(self) -> dict[str, object]:
        """Return no state. Tune pickles searchers to restore a study; ours resumes from the store."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a study resumes from the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a study resumes from the store."""


def _make_queued_trial(trial: PlannedTrial) -> QueuedTrial:
    """Queue a trial with its relative duration: training FLOPs over the GPUs that share them. Half a GPU is assumed
    to be half as fast."""
    flops = math.nan if trial.planned_train_flops is None else trial.planned_train_flops
    return QueuedTrial(
        trial.fingerprint,
        build_resource_request(trial),
        flops / (trial.spec.runtime.workers * (trial.spec.runtime.gpus or 1)),
    )


def format_trial_name(trial: PlannedTrial) -> str:
    """Format the name of a trial: model, epochs, seed, and a part of the fingerprint that makes it unique."""
    epochs = trial.spec.recipe.num_train_epochs
    return f"{trial.spec.model.name}-epochs{epochs:g}-seed{trial.spec.seed}-{trial.fingerprint[:6]}"


def list_ray_nodes() -> list[Node]:
    """List the nodes that Ray reports as alive."""
    return [
        Node(node["NodeID"], node["Resources"].get("CPU", 0.0), int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]


def _fail_lost_trial(trial: PlannedTrial, store: Store, reason: str, display: ProgressDisplay) -> TrialRow:
    """Record a trial as failed, show its row, and return it."""
    error = LostWorkerError(f"trial {trial.fingerprint}", found=reason, hint="run again to resume it")
    row = record_failure(trial, store, error)
    display.on_trial_end(row)
    return row
