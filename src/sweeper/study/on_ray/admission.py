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
from sweeper.store import Store
from sweeper.study.agenda import Agenda
from sweeper.study.on_ray.train import HEAD, bundle
from sweeper.study.placing.forecast import need_of
from sweeper.study.placing.queue import Job, Need, Node, Queue
from sweeper.study.plan import PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.trial import FAILED, failure_of, publish_failure

LOST_WORKER_RETRIES = 3
"""A trial goes on from its checkpoint this often after its worker died, counted anew once it gets further than before:
on spot machines a long trial may well lose more. Errors of the trial itself never get here."""
SAME_FAILURES = 5
"""So many trials in a row that fail with the same message end the study: the next would too."""
NO_NODE_SECONDS = 900.0
"""A trial that fits no node of the cluster, even an empty one, is given up after this: an autoscaler needs minutes."""
_NODES_SECONDS = 2.0


class Admission(Searcher):  # type: ignore[misc]
    """Hands a trial to Tune once it has its place; takes back one whose worker was lost."""

    def __init__(self, agenda: Agenda, nodes: list[Node], store: Store, display: ProgressDisplay) -> None:
        super().__init__()
        self.agenda, self.store, self.display = agenda, store, display
        self.trials = {trial.fingerprint: trial for trial in agenda.known}
        self.queue = Queue(nodes, [_job(trial) for trial in agenda.known])
        self._over = not agenda.proposes
        self._of: dict[str, str] = {}
        self._lost: Counter[str] = Counter()
        """Workers lost since the trial last got further than it had been."""
        self._furthest: dict[str, float] = {}
        """The highest optimiser step that a trial told before it last lost a worker."""
        self._told: dict[str, float] = {}
        """The last optimiser step that it told."""
        self._all_lost = 0
        self.stranded: set[str] = set()
        """Tune's ids of trials that have a place on a node that is gone."""
        self._last: list[str] = []
        self._looked = self._counted = self._moved = time.monotonic()
        self._busy = self._capacity = 0.0
        self._asked_for: list[dict[str, float]] = []

    def suggest(self, trial_id: str) -> Any:
        """The next trial that has a place, and the node of each worker; None where none has now."""
        self.look()
        if self._stopped():
            return Searcher.FINISHED
        self._propose()
        while True:
            if self.queue.empty:
                return Searcher.FINISHED
            found = self.queue.next()
            if found is None:
                return Searcher.FINISHED if self._no_node() else None
            fingerprint, nodes = found
            if self.agenda.may_start(self.trials[fingerprint]):
                break
            self.queue.done(fingerprint)  # it is left for another run, with more to spend
            self._over = True
        self._of[trial_id] = fingerprint
        self._moved = time.monotonic()
        trial, gang = self.trials[fingerprint], is_gang(self.trials[fingerprint])
        return {
            "fingerprint": fingerprint,
            "name": name_of(trial),
            "nodes": nodes,
            "pinned": not gang,
            "bundle": {HEAD: 0.001} if gang else bundle(trial.spec.runtime),
            "proposed": (trial, self.agenda.pruner(trial)) if self.agenda.proposes else None,
        }

    def _propose(self) -> None:
        """Ask the agenda for one more trial where none waits: the later it is proposed, the more is known."""
        most = self.agenda.max_concurrent
        if self._over or self.queue.waiting or (most is not None and len(self.queue.running) >= most):
            return
        trial = self.agenda.next()
        if trial is not None:
            self.trials[trial.fingerprint] = trial
            self.queue.add(_job(trial))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial's row frees its place: with its end, which follows, its actor would be gone before the next trial."""
        fingerprint = self._of.get(trial_id)
        if fingerprint is None:
            return
        self._told[fingerprint] = result.get("progress/step", self._told.get(fingerprint, 0.0))
        if "row/status" in result:  # Tune hands results to search algorithms flattened
            metrics = {k.removeprefix("row/metrics/"): v for k, v in result.items() if k.startswith("row/metrics/")}
            row = {"fingerprint": fingerprint, "status": result["row/status"], "metrics": metrics}
            self._ended(trial_id, row | {"failure": result.get("row/failure")})
        elif result.get("progress/stage") == "evaluating" and is_gang(self.trials[fingerprint]):
            runtime = self.trials[fingerprint].spec.runtime
            self.queue.shrink(fingerprint, Need(1, runtime.cpus, runtime.gpus))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """It ended without a row: what it ran on is gone."""
        fingerprint = self._of.get(trial_id)
        if fingerprint is None:
            return
        self._moved = time.monotonic()
        stranded = trial_id in self.stranded  # it had not begun
        self._all_lost += not stranded
        if self._told.get(fingerprint, 0.0) > self._furthest.get(fingerprint, 0.0):
            self._furthest[fingerprint] = self._told[fingerprint]
            self._lost[fingerprint] = 0
        self._lost[fingerprint] += not stranded
        if self._lost[fingerprint] <= LOST_WORKER_RETRIES:
            del self._of[trial_id]
            self.look(now=True)  # not onto the node that has just died
            self.queue.again(fingerprint)
            again = "the study stops before it is tried again" if self._stopped() else "it goes on from its checkpoint"
            self.display.say(f"{fingerprint}: its {'node' if stranded else 'worker'} was lost; {again}")
            return
        found = f"its worker was lost {self._lost[fingerprint]} times, and it got no further"
        self._ended(trial_id, _given_up(self.trials[fingerprint], self.store, found, self.display))

    def _ended(self, trial_id: str, row: dict[str, Any]) -> None:
        self._count()
        self._moved = time.monotonic()
        self.queue.done(self._of.pop(trial_id))
        self.agenda.ended(row)
        self._last = [*self._last, str(row.get("failure")) if row["status"] == FAILED else ""][-SAME_FAILURES:]
        if self._stopped():
            self.display.say(f"stopped: the last {SAME_FAILURES} trials all failed with {self._last[0]}")

    def _stopped(self) -> bool:
        """Whether the last trials all failed alike."""
        return len(self._last) == SAME_FAILURES and len(set(self._last)) == 1 and self._last[0] != ""

    def _no_node(self) -> bool:
        """Whether nothing runs, and those that wait have fitted no node for a long time: they are given up."""
        if self.queue.running or time.monotonic() - self._moved < NO_NODE_SECONDS:
            return False
        for fingerprint in self.queue.waiting:
            found = f"no node for {need_of(self.trials[fingerprint])} in {NO_NODE_SECONDS:.0f} s"
            _given_up(self.trials[fingerprint], self.store, found, self.display)
        return True

    def look(self, now: bool = False) -> None:
        """Nodes come and go; an autoscaler is told what still waits. At most every two seconds, unless `now`."""
        if not now and time.monotonic() - self._looked < _NODES_SECONDS:
            return
        self._looked = time.monotonic()
        self._count()
        lost = set(self.queue.update(nodes_now()))
        self.stranded = {trial_id for trial_id, fingerprint in self._of.items() if fingerprint in lost}
        runtimes = [self.trials[fingerprint].spec.runtime for fingerprint in (*self.queue.running, *self.queue.waiting)]
        self.ask_for_nodes([bundle(runtime) for runtime in runtimes for _ in range(runtime.workers)])

    def ask_for_nodes(self, bundles: list[dict[str, float]]) -> None:
        """Have an autoscaler make room for these, where there is one."""
        if bundles != self._asked_for:
            request_resources(bundles=bundles)
            self._asked_for = bundles

    def _count(self) -> None:
        now, gpus = time.monotonic(), sum(node.gpus for node in self.queue.ledger.nodes)
        if gpus:
            self._busy += self.queue.ledger.utilisation * gpus * (now - self._counted)
            self._capacity += gpus * (now - self._counted)
        self._counted = now

    def summary(self) -> str:
        """What the cluster's GPUs were used for."""
        self._count()
        said = [f"{self._all_lost} workers lost"] if self._all_lost else []
        if self._capacity:
            said.append(f"GPUs in use {self._busy / self._capacity:.0%} of {self._capacity / 3600:.2f} GPU-hours")
        return "; ".join(said)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it to restore a study; the store is what ours goes on from."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is what a study goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


def _job(trial: PlannedTrial) -> Job:
    """With its relative length, for the order: the work over what shares it. Half a GPU is taken to be half as fast."""
    flops = math.nan if trial.planned_train_flops is None else trial.planned_train_flops
    return Job(trial.fingerprint, need_of(trial), flops / (trial.spec.runtime.workers * (trial.spec.runtime.gpus or 1)))


def name_of(trial: PlannedTrial) -> str:
    """Arm and seed, and enough of the fingerprint to be the only one."""
    epochs = trial.spec.recipe.num_train_epochs
    return f"{trial.spec.model.name}-epochs{epochs:g}-seed{trial.spec.seed}-{trial.fingerprint[:6]}"


def is_gang(trial: PlannedTrial) -> bool:
    """Whether a trial has workers of its own, beside the process that drives it."""
    return trial.spec.engine is not None and trial.spec.engine.distributed


def nodes_now() -> list[Node]:
    """The nodes that Ray counts as alive."""
    return [
        Node(node["NodeID"], node["Resources"].get("CPU", 0.0), int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]


def _given_up(trial: PlannedTrial, store: Store, found: str, display: ProgressDisplay) -> dict[str, Any]:
    failure = failure_of(LostWorkerError(f"trial {trial.fingerprint}", found=found, do="run again to go on"))
    publish_failure(store, trial.fingerprint, trial.spec.model.name, failure)
    row = {"fingerprint": trial.fingerprint, "status": FAILED, "metrics": {}, "failure": failure.message}
    display.ended(row | {"failure_kind": failure.kind})
    return row
