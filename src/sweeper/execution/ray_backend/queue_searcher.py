"""Which trial starts next on Ray, and where: the pure queue of `admission`, as a search algorithm of Ray Tune."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

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
from sweeper.training import TrialProgress, TrialRow

LOST_WORKER_RETRIES = 3
"""A trial goes on from its checkpoint this often after its worker died, counted anew once it gets further than before:
on spot machines a long trial may well lose more. Errors of the trial itself never get here."""
MAX_SAME_FAILURES = 5
"""So many trials in a row that fail with the same message end the study: the next would too."""
NO_NODE_TIMEOUT_SECONDS = 900.0
"""A trial that fits no node of the cluster, even an empty one, is given up after this: an autoscaler needs minutes."""
_NODE_REFRESH_SECONDS = 2.0


class RayQueueSearcher(Searcher):  # type: ignore[misc]
    """Hands a trial to Tune once it has its place; takes back one whose worker was lost."""

    def __init__(self, trial_source: TrialSource, nodes: list[Node], store: Store, display: ProgressDisplay) -> None:
        super().__init__()
        self.trial_source, self.store, self.display = trial_source, store, display
        self.trials = {trial.fingerprint: trial for trial in trial_source.known_trials}
        self.queue = TrialQueue(nodes, [_make_queued_trial(trial) for trial in trial_source.known_trials])
        self._is_source_exhausted = not trial_source.proposes_trials
        self._fingerprints: dict[str, str] = {}
        self._lost_workers: Counter[str] = Counter()
        """Workers lost since the trial last got further than it had been."""
        self._furthest_steps: dict[str, float] = {}
        """The highest optimiser step that a trial told before it last lost a worker."""
        self._last_steps: dict[str, float] = {}
        """The last optimiser step that it told."""
        self._total_lost_workers = 0
        self.stranded_trial_ids: set[str] = set()
        """Tune's ids of trials that have a place on a node that is gone."""
        self._recent_failures: list[str] = []
        self._nodes_refreshed_at = self._usage_measured_at = self._last_change_at = time.monotonic()
        self._busy_gpu_seconds = self._available_gpu_seconds = 0.0
        self._requested_bundles: list[dict[str, float]] = []

    def suggest(self, trial_id: str) -> Any:
        """The next trial that has a place, and the node of each worker; None where none has now."""
        self.refresh_nodes()
        if self._is_stopped():
            return Searcher.FINISHED
        self._enqueue_next_trial()
        while True:
            if self.queue.is_empty:
                return Searcher.FINISHED
            found = self.queue.next_placement()
            if found is None:
                return Searcher.FINISHED if self._give_up_unplaceable() else None
            fingerprint, nodes = found
            if self.trial_source.reserve_budget(self.trials[fingerprint]):
                break
            self.queue.finish(fingerprint)  # it is left for another run, with more to spend
            self._is_source_exhausted = True
        self._fingerprints[trial_id] = fingerprint
        self._last_change_at = time.monotonic()
        trial, gang = self.trials[fingerprint], self.trials[fingerprint].is_multi_worker
        return {
            "fingerprint": fingerprint,
            "name": format_trial_name(trial),
            "nodes": nodes,
            "pinned": not gang,
            "bundle": {HEAD_NODE_RESOURCE: 0.001} if gang else make_bundle(trial.spec.runtime),
            "proposed": (trial, self.trial_source.get_pruner(trial)) if self.trial_source.proposes_trials else None,
        }

    def _enqueue_next_trial(self) -> None:
        """Ask the agenda for one more trial where none waits: the later it is proposed, the more is known."""
        most = self.trial_source.max_concurrent
        if (
            self._is_source_exhausted
            or self.queue.waiting_keys
            or (most is not None and len(self.queue.placements) >= most)
        ):
            return
        trial = self.trial_source.next_trial()
        if trial is not None:
            self.trials[trial.fingerprint] = trial
            self.queue.add(_make_queued_trial(trial))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial's row frees its place: with its end, which follows, its actor would be gone before the next trial."""
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

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """It ended without a row: what it ran on is gone."""
        fingerprint = self._fingerprints.get(trial_id)
        if fingerprint is None:
            return
        self._last_change_at = time.monotonic()
        stranded = trial_id in self.stranded_trial_ids  # it had not begun
        self._total_lost_workers += not stranded
        if self._last_steps.get(fingerprint, 0.0) > self._furthest_steps.get(fingerprint, 0.0):
            self._furthest_steps[fingerprint] = self._last_steps[fingerprint]
            self._lost_workers[fingerprint] = 0
        self._lost_workers[fingerprint] += not stranded
        if self._lost_workers[fingerprint] <= LOST_WORKER_RETRIES:
            del self._fingerprints[trial_id]
            self.refresh_nodes(force=True)  # not onto the node that has just died
            self.queue.requeue(fingerprint)
            again = (
                "the study stops before it is tried again" if self._is_stopped() else "it goes on from its checkpoint"
            )
            self.display.print_line(f"{fingerprint}: its {'node' if stranded else 'worker'} was lost; {again}")
            return
        found = f"its worker was lost {self._lost_workers[fingerprint]} times, and it got no further"
        self._finish_trial(trial_id, _fail_lost_trial(self.trials[fingerprint], self.store, found, self.display))

    def _finish_trial(self, trial_id: str, row: TrialRow) -> None:
        self._measure_gpu_usage()
        self._last_change_at = time.monotonic()
        self.queue.finish(self._fingerprints.pop(trial_id))
        self.trial_source.on_trial_end(row)
        self._recent_failures = [*self._recent_failures, row.failure.message if row.failure else ""][
            -MAX_SAME_FAILURES:
        ]
        if self._is_stopped():
            self.display.print_line(
                f"stopped: the last {MAX_SAME_FAILURES} trials all failed with {self._recent_failures[0]}"
            )

    def _is_stopped(self) -> bool:
        """Whether the last trials all failed alike."""
        return (
            len(self._recent_failures) == MAX_SAME_FAILURES
            and len(set(self._recent_failures)) == 1
            and self._recent_failures[0] != ""
        )

    def _give_up_unplaceable(self) -> bool:
        """Whether nothing runs, and those that wait have fitted no node for a long time: they are given up."""
        if self.queue.placements or time.monotonic() - self._last_change_at < NO_NODE_TIMEOUT_SECONDS:
            return False
        for fingerprint in self.queue.waiting_keys:
            found = f"no node for {build_resource_request(self.trials[fingerprint])} in {NO_NODE_TIMEOUT_SECONDS:.0f} s"
            _fail_lost_trial(self.trials[fingerprint], self.store, found, self.display)
        return True

    def refresh_nodes(self, force: bool = False) -> None:
        """Nodes come and go; an autoscaler is told what still waits. At most every two seconds, unless `now`."""
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
        """Have an autoscaler make room for these, where there is one."""
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
        """What the cluster's GPUs were used for."""
        self._measure_gpu_usage()
        said = [f"{self._total_lost_workers} workers lost"] if self._total_lost_workers else []
        if self._available_gpu_seconds:
            said.append(
                f"GPUs in use {self._busy_gpu_seconds / self._available_gpu_seconds:.0%} of {self._available_gpu_seconds / 3600:.2f} GPU-hours"
            )
        return "; ".join(said)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it to restore a study; the store is what ours goes on from."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is what a study goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


def _make_queued_trial(trial: PlannedTrial) -> QueuedTrial:
    """With its relative length, for the order: the work over what shares it. Half a GPU is taken to be half as fast."""
    flops = math.nan if trial.planned_train_flops is None else trial.planned_train_flops
    return QueuedTrial(
        trial.fingerprint,
        build_resource_request(trial),
        flops / (trial.spec.runtime.workers * (trial.spec.runtime.gpus or 1)),
    )


def format_trial_name(trial: PlannedTrial) -> str:
    """Arm and seed, and enough of the fingerprint to be the only one."""
    epochs = trial.spec.recipe.num_train_epochs
    return f"{trial.spec.model.name}-epochs{epochs:g}-seed{trial.spec.seed}-{trial.fingerprint[:6]}"


def list_ray_nodes() -> list[Node]:
    """The nodes that Ray counts as alive."""
    return [
        Node(node["NodeID"], node["Resources"].get("CPU", 0.0), int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]


def _fail_lost_trial(trial: PlannedTrial, store: Store, reason: str, display: ProgressDisplay) -> TrialRow:
    error = LostWorkerError(f"trial {trial.fingerprint}", found=reason, hint="run again to go on")
    row = record_failure(trial, store, error)
    display.on_trial_end(row)
    return row
