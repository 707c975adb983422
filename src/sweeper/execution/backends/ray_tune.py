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
from sweeper.execution.backends.base import BackendSession
from sweeper.execution.backends.ray_queue_searcher import RayQueueSearcher, is_multi_worker, list_ray_nodes
from sweeper.execution.backends.ray_search_actor import open_ray_search
from sweeper.execution.backends.ray_train import evaluate_on_ray, make_ray_launcher
from sweeper.execution.failures import record_failure
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.trial_source import TrialSource
from sweeper.execution.trial_stages import run_trial
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.storage import Store
from sweeper.tracking import Tracker, TrackerName
from sweeper.training import FAILED, PRUNED, Pruner, TrialRow, WorkerLauncher

TrialFunction = Callable[[PlannedTrial, Store, Tracker, Any, tuple[str, ...], Pruner | None], TrialRow]
"""Planned trial, store, tracker, whom to tell, the node of each worker, who may stop it -> the trial's row."""
REPORT_SECONDS = 0.5
"""Progress is sent to the driver at most this often: a report is a round trip between processes."""


class _RecycleActorError(Exception):
    """What an allocator keeps after it ran out would be lacking in the next trial; after a fault on a GPU its process
    can use none."""


@contextmanager
def open_ray_backend(address: str | None, display: ProgressDisplay) -> Iterator[BackendSession]:
    """A backend on the Ray cluster at `address`, or on one started here."""
    import ray

    _silence_ray()
    context = _connect(address)
    display.print_line(
        f"Ray dashboard: http://{context.dashboard_url}" if context.dashboard_url else "Ray dashboard: off"
    )
    try:
        yield BackendSession(run_trials_on_ray, open_ray_search)
    finally:
        ray.shutdown()


def _silence_ray() -> None:
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
            "Ray",
            requested=f"--address {address or '(none)'}",
            found=str(error),
            hint="--backend inline runs without Ray",
        ) from error


def run_trials_on_ray(
    trial_source: TrialSource,
    plan: Plan,
    store: Store,
    tracking: TrackerName,
    display: ProgressDisplay,
    trial_function: TrialFunction | None = None,
) -> None:
    """Run an agenda on the cluster that Ray is connected to. `work` is what a worker does (else: `run_on_ray`)."""
    import ray
    from ray import tune

    # Those known before travel to a worker once; what is proposed later, with its own trial.
    listed = ray.put({trial.fingerprint: trial for trial in trial_source.known_trials})
    tracker = Tracker(tracking, plan.sweep.name, store)

    def trainable(config: dict[str, Any]) -> None:
        last = 0.0

        def tell(progress: dict[str, Any]) -> None:
            nonlocal last
            if progress.get("stage") != "training" or time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                tune.report({"progress": progress})

        trial, pruner = config["proposed"] or (_fetch_trials(listed)[config["fingerprint"]], None)
        row = (trial_function or run_trial_on_ray)(trial, store, tracker, tell, config["nodes"], pruner)
        tune.report({"row": row})
        if row.is_failed or row.out_of_memory_at:
            raise _RecycleActorError  # the trial has ended; this ends the actor, so that the next one gets a fresh one

    admitted = RayQueueSearcher(trial_source, list_ray_nodes(), store, display)
    tune_config = tune.TuneConfig(
        reuse_actors=True,
        trial_name_creator=_get_trial_name,
        search_alg=admitted,
        scheduler=_make_scheduler(admitted),
        num_samples=-1,
    )
    # Tune's own files are of no use later: our store is what a study goes on from, and it may go away for a while.
    with tempfile.TemporaryDirectory(prefix="sweeper-tune-") as scratch:
        run_config = tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[_make_callback(display)],
            failure_config=tune.FailureConfig(max_failures=0),  # who is tried again, and where, the queue decides
        )
        able = _rename_trainable(
            tune.with_resources(_make_preemptible(trainable), _make_placement_group), plan.sweep.name
        )
        tuner = tune.Tuner(able, tune_config=tune_config, run_config=run_config)
        try:
            with display.metrics.publishing():
                tuner.fit()
        finally:
            admitted.request_nodes([])
    if summary := admitted.format_summary():
        display.print_line(summary)


@lru_cache(maxsize=1)
def _fetch_trials(trials_ref: Any) -> dict[str, PlannedTrial]:
    """A worker's trials, unpickled once: of a thousand it takes longer than what Tune does for one."""
    import ray

    trials: dict[str, PlannedTrial] = ray.get(trials_ref)
    return trials


def run_trial_on_ray(
    planned: PlannedTrial,
    store: Store,
    tracker: Tracker,
    on_progress: Any,
    nodes: tuple[str, ...],
    pruner: Pruner | None,
) -> TrialRow:
    """One trial's row. Raises what another worker or node could do better; a bug is a FAILED row."""
    try:
        if not is_multi_worker(planned):
            return run_trial(planned, planned.evaluation, store, tracker, on_progress, pruner=pruner)

        def launch(told: Any) -> WorkerLauncher:
            return make_ray_launcher(planned, store, told, nodes, pruner)

        row = run_trial(planned, None, store, tracker, on_progress, launch, pruner)
        if row.status in (FAILED, PRUNED) or planned.evaluation is None:
            return row
        on_progress({"stage": "evaluating"})
        return evaluate_on_ray(planned, planned.evaluation, store, tracker.make_evaluation_tracker(), nodes[0])
    except (LostWorkerError, PreemptedError):
        raise
    except Exception as error:
        return record_failure(planned, store, error)


def _get_trial_name(trial: Any) -> str:
    """What the Ray dashboard shows: the arm and the seed."""
    return str(trial.config["name"])


def _make_placement_group(config: dict[str, Any]) -> Any:
    """What Tune reserves. Only from the trial's own config: this is pickled with every trial."""
    from ray import tune

    here = {"bundle_label_selector": [{"ray.io/node-id": config["nodes"][0]}]} if config["pinned"] else {}
    return tune.PlacementGroupFactory([config["bundle"]], **here)


def _make_preemptible(trainable: Any) -> Any:
    """The trainable, in an actor that has SIGTERM wait for a checkpoint: Tune trains in another thread, and signals are
    the main thread's."""
    from ray.tune.trainable.function_trainable import wrap_function

    from sweeper.training.preemption import install_signal_handler

    class Preemptible(wrap_function(trainable, name="trial")):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            install_signal_handler()
            super().setup(config)

        def __repr__(self) -> str:
            # Ray asks once in an actor's life, when it is made; the trials that it is reused for come later.
            return f"first: {self.trial_name}"

    return Preemptible


def _rename_trainable(trainable: Any, study: str) -> Any:
    """What the Ray dashboard calls the actors' class: the study, not a wrapper of Tune's."""
    trainable.__name__ = trainable.__qualname__ = study
    return trainable


def _make_scheduler(searcher: RayQueueSearcher) -> Any:
    from ray.tune.schedulers import FIFOScheduler

    class Exact(FIFOScheduler):  # type: ignore[misc]
        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            searcher.refresh_nodes()
            if searcher.stranded_trial_ids:  # pinned to a node that died before they started there: for ever
                for trial in tune_controller.get_trials():
                    if trial.trial_id in searcher.stranded_trial_ids and trial.status == trial.PENDING:
                        tune_controller.stop_trial(trial)
            # Tune keeps one idle actor "for later", with its GPU, which a gang may be waiting for.
            tune_controller._tune_controller._actor_cache._may_keep_one = False
            return super().choose_trial_to_run(tune_controller)

    return Exact()


def _make_callback(display: ProgressDisplay) -> Any:
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
                self.display.on_progress(trial.config["fingerprint"], {"stage": "training"})

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            """Show what a worker reported."""
            if self.display and "progress" in result:
                self.display.on_progress(trial.config["fingerprint"], result["progress"])
            if self.display and "row" in result:
                self.display.on_trial_end(result["row"])

    return Show(display)
