"""The plan on Ray Tune: warm workers, reused from trial to trial, each started only once it has its place."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sweeper.errors import LostWorkerError, PreemptedError
from sweeper.execution.failures import record_failure
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.ray_backend.queue_searcher import RayQueueSearcher, list_ray_nodes
from sweeper.execution.ray_backend.train import evaluate_on_ray, make_ray_launcher
from sweeper.execution.run_context import RunContext
from sweeper.execution.trial_source import TrialSource
from sweeper.execution.trial_stages import run_trial
from sweeper.planning.plan import PlannedTrial
from sweeper.storage import Store
from sweeper.tracking import Tracker
from sweeper.training import (
    FAILED,
    PRUNED,
    ProgressListener,
    Pruner,
    TrialProgress,
    TrialProgressListener,
    TrialRow,
    WorkerLauncher,
)

TrialFunction = Callable[
    [PlannedTrial, Store, Tracker, TrialProgressListener, tuple[str, ...], Pruner | None], TrialRow
]
"""What a Tune worker does: planned trial, store, tracker, progress listener, node of each worker, pruner -> row."""
REPORT_SECONDS = 0.5
"""Progress is sent to the driver at most this often: a report is a round trip between processes."""


class _RecycleActorError(Exception):
    """What an allocator keeps after it ran out would be lacking in the next trial; after a fault on a GPU its process
    can use none."""


def run_trials_on_ray(trial_source: TrialSource, run: RunContext, trial_function: TrialFunction | None = None) -> None:
    """Run trials on the cluster that Ray is connected to.

    Args:
        trial_source: hands out the trials.
        run: the run of the study.
        trial_function: what a worker does with a trial; None: `run_trial_on_ray`.
    """
    import ray
    from ray import tune

    # Known trials travel to a worker once; a proposed trial travels with its own Tune config.
    known_trials = ray.put({trial.fingerprint: trial for trial in trial_source.known_trials})
    store, tracker, display = run.store, run.tracker, run.display

    def trainable(config: dict[str, Any]) -> None:
        last_report = 0.0

        def report_progress(progress: TrialProgress) -> None:
            nonlocal last_report
            if progress.stage != "training" or time.monotonic() - last_report > REPORT_SECONDS:
                last_report = time.monotonic()
                tune.report({"progress": progress})

        trial, pruner = config["proposed"] or (_fetch_trials(known_trials)[config["fingerprint"]], None)
        function = trial_function or run_trial_on_ray
        row = function(trial, store, tracker, report_progress, config["nodes"], pruner)
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
            tune.with_resources(_make_preemptible(trainable), _make_placement_group), run.plan.sweep.name
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
    trial: PlannedTrial,
    store: Store,
    tracker: Tracker,
    on_progress: TrialProgressListener,
    nodes: tuple[str, ...],
    pruner: Pruner | None,
) -> TrialRow:
    """Run one trial in a Tune worker, and return its row; an error of the trial is a FAILED row.

    Raises:
        LostWorkerError, PreemptedError: another worker or node can resume the trial.
    """
    try:
        if not trial.is_multi_worker:
            return run_trial(trial, tracker, on_progress, pruner=pruner)

        def make_launcher(on_training_progress: ProgressListener) -> WorkerLauncher:
            return make_ray_launcher(trial, store, on_training_progress, nodes, pruner)

        row = run_trial(trial, tracker, on_progress, evaluate=False, make_launcher=make_launcher, pruner=pruner)
        if row.status in (FAILED, PRUNED) or trial.evaluation is None:
            return row
        on_progress(TrialProgress("evaluating"))
        return evaluate_on_ray(trial, tracker.make_evaluation_tracker(), nodes[0])
    except (LostWorkerError, PreemptedError):
        raise
    except Exception as error:
        return record_failure(trial, store, error)


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
                self.display.on_progress(trial.config["fingerprint"], TrialProgress("training"))

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            """Show what a worker reported."""
            if self.display and "progress" in result:
                self.display.on_progress(trial.config["fingerprint"], result["progress"])
            if self.display and "row" in result:
                self.display.on_trial_end(result["row"])

    return Show(display)
