"""The plan on Ray Tune: warm workers, reused from trial to trial, each started only once it has its place."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sweeper.errors import LostWorkerError, PreemptedError, SweeperError
from sweeper.store import Store
from sweeper.study.agenda import Agenda
from sweeper.study.backend import Started
from sweeper.study.on_ray.admission import Admission, is_gang, nodes_now
from sweeper.study.on_ray.search import search_on_ray
from sweeper.study.on_ray.train import evaluate_on_ray, launch_on_ray
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.study.stage import run_trial
from sweeper.tracking import Tracker, Tracking
from sweeper.trial import FAILED, PRUNED, Launch, Pruner, failure_of, publish_failure

Work = Callable[[PlannedTrial, Store, Tracker, Any, tuple[str, ...], Pruner | None], dict[str, Any]]
"""Planned trial, store, tracker, whom to tell, the node of each worker, who may stop it -> the trial's row."""
REPORT_SECONDS = 0.5
"""Progress is sent to the driver at most this often: a report is a round trip between processes."""


class _ActorSpentError(Exception):
    """What an allocator keeps after it ran out would be lacking in the next trial; after a fault on a GPU its process
    can use none."""


@contextmanager
def ray_backend(address: str | None, display: ProgressDisplay) -> Iterator[Started]:
    """A backend on the Ray cluster at `address`, or on one started here."""
    import ray

    _quiet()
    context = _connect(address)
    display.say(f"Ray dashboard: http://{context.dashboard_url}" if context.dashboard_url else "Ray dashboard: off")
    try:
        yield Started(tune_trials, search_on_ray)
    finally:
        ray.shutdown()


def _quiet() -> None:
    """Tune's own table would fight with ours for the terminal."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ctrl-C then raises KeyboardInterrupt here, and is told apart from trials that failed.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000")  # what is handed out has its place already
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's workers have 30 threads, and a heap of glibc's for each grows with every trial (man mallopt, M_ARENA_MAX).
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is told by the display, once


def _connect(address: str | None) -> Any:
    import ray

    try:
        if address:
            return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        return ray.init(include_dashboard=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SweeperError(
            "Ray", asked=f"--address {address or '(none)'}", found=str(error), do="--backend inline runs without Ray"
        ) from error


def tune_trials(
    agenda: Agenda,
    plan: Plan,
    store: Store,
    tracking: Tracking,
    display: ProgressDisplay,
    work: Work | None = None,
) -> None:
    """Run an agenda on the cluster that Ray is connected to. `work` is what a worker does (else: `run_on_ray`)."""
    import ray
    from ray import tune

    # Those known before travel to a worker once; what is proposed later, with its own trial.
    listed = ray.put({trial.fingerprint: trial for trial in agenda.known})
    tracker = Tracker(tracking, plan.sweep.name, store)

    def trainable(config: dict[str, Any]) -> None:
        last = 0.0

        def tell(progress: dict[str, Any]) -> None:
            nonlocal last
            if progress.get("stage") != "training" or time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                tune.report({"progress": progress})

        trial, pruner = config["proposed"] or (_fetched(listed)[config["fingerprint"]], None)
        row = (work or run_on_ray)(trial, store, tracker, tell, config["nodes"], pruner)
        tune.report({"row": row})
        if row["status"] == FAILED or row.get("out_of_memory_at"):
            raise _ActorSpentError  # the trial has ended; this ends the actor, so that the next one gets a fresh one

    admitted = Admission(agenda, nodes_now(), store, display)
    tune_config = tune.TuneConfig(
        reuse_actors=True,
        trial_name_creator=_name,
        search_alg=admitted,
        scheduler=_scheduler(admitted),
        num_samples=-1,
    )
    # Tune's own files are of no use later: our store is what a study goes on from, and it may go away for a while.
    with tempfile.TemporaryDirectory(prefix="sweeper-tune-") as scratch:
        run_config = tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[_callback(display)],
            failure_config=tune.FailureConfig(max_failures=0),  # who is tried again, and where, the queue decides
        )
        able = _named(tune.with_resources(_preemptible(trainable), _resources), plan.sweep.name)
        tuner = tune.Tuner(able, tune_config=tune_config, run_config=run_config)
        try:
            with display.metrics.telling():
                tuner.fit()
        finally:
            admitted.ask_for_nodes([])
    if summary := admitted.summary():
        display.say(summary)


@lru_cache(maxsize=1)
def _fetched(listed: Any) -> dict[str, PlannedTrial]:
    """A worker's trials, unpickled once: of a thousand it takes longer than what Tune does for one."""
    import ray

    trials: dict[str, PlannedTrial] = ray.get(listed)
    return trials


def run_on_ray(
    planned: PlannedTrial, store: Store, tracker: Tracker, tell: Any, nodes: tuple[str, ...], pruner: Pruner | None
) -> dict[str, Any]:
    """One trial's row. Raises what another worker or node could do better; a bug is a FAILED row."""
    try:
        if not is_gang(planned):
            return run_trial(planned, planned.evaluation, store, tracker, tell, pruner=pruner)

        def launch(told: Any) -> Launch:
            return launch_on_ray(planned, store, told, nodes, pruner)

        row = run_trial(planned, None, store, tracker, tell, launch, pruner)
        if row["status"] in (FAILED, PRUNED) or planned.evaluation is None:
            return row
        tell({"stage": "evaluating"})
        return evaluate_on_ray(planned, planned.evaluation, store, tracker.evaluation(), nodes[0])
    except (LostWorkerError, PreemptedError):
        raise
    except Exception as error:
        failure = failure_of(error)
        publish_failure(store, planned.fingerprint, planned.spec.model.name, failure)
        return {
            "fingerprint": planned.fingerprint,
            "status": FAILED,
            "metrics": {},
            "failure": failure.message,
            "failure_kind": failure.kind,
        }


def _name(trial: Any) -> str:
    """What the Ray dashboard shows: the arm and the seed."""
    return str(trial.config["name"])


def _resources(config: dict[str, Any]) -> Any:
    """What Tune reserves. Only from the trial's own config: this is pickled with every trial."""
    from ray import tune

    here = {"bundle_label_selector": [{"ray.io/node-id": config["nodes"][0]}]} if config["pinned"] else {}
    return tune.PlacementGroupFactory([config["bundle"]], **here)


def _preemptible(trainable: Any) -> Any:
    """The trainable, in an actor that has SIGTERM wait for a checkpoint: Tune trains in another thread, and signals are
    the main thread's."""
    from ray.tune.trainable.function_trainable import wrap_function

    from sweeper.trial.preemption import install

    class Preemptible(wrap_function(trainable, name="trial")):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            install()
            super().setup(config)

        def __repr__(self) -> str:
            # Ray asks once in an actor's life, when it is made; the trials that it is reused for come later.
            return f"first: {self.trial_name}"

    return Preemptible


def _named(trainable: Any, study: str) -> Any:
    """What the Ray dashboard calls the actors' class: the study, not a wrapper of Tune's."""
    trainable.__name__ = trainable.__qualname__ = study
    return trainable


def _scheduler(admitted: Admission) -> Any:
    from ray.tune.schedulers import FIFOScheduler

    class Exact(FIFOScheduler):  # type: ignore[misc]
        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            admitted.look()
            if admitted.stranded:  # pinned to a node that died before they started there: for ever
                for trial in tune_controller.get_trials():
                    if trial.trial_id in admitted.stranded and trial.status == trial.PENDING:
                        tune_controller.stop_trial(trial)
            # Tune keeps one idle actor "for later", with its GPU, which a gang may be waiting for.
            tune_controller._tune_controller._actor_cache._may_keep_one = False
            return super().choose_trial_to_run(tune_controller)

    return Exact()


def _callback(display: ProgressDisplay) -> Any:
    from ray import tune

    class Show(tune.Callback):  # type: ignore[misc]
        """Feeds the live display from Tune's results."""

        def __init__(self, display: ProgressDisplay | None) -> None:
            self.display = display

        def __getstate__(self) -> dict[str, Any]:
            """Tune pickles its callbacks to restore them; ours draws on this terminal, and disk is our truth."""
            return {"display": None}

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            """A trial that hangs before it tells anything has started all the same."""
            if self.display:
                self.display.told(trial.config["fingerprint"], {"stage": "training"})

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            """Show what a worker reported."""
            if self.display and "progress" in result:
                self.display.told(trial.config["fingerprint"], result["progress"])
            if self.display and "row" in result:
                self.display.ended(result["row"])

    return Show(display)
