"""Trials on Ray Tune. Workers are reused from trial to trial; a trial starts once all of its workers have a place."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sweeper.errors import LostWorkerError, PreemptedError
from sweeper.execution.failures import record_failure
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.ray_backend.queue_searcher import RayQueueSearcher, TuneConfig, list_ray_nodes
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

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.tune import Callback, PlacementGroupFactory
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.trainable.function_trainable import FunctionTrainable

TrialFunction = Callable[
    [PlannedTrial, Store, Tracker, TrialProgressListener, tuple[str, ...], Pruner | None], TrialRow
]
"""(trial, store, tracker, progress listener, node of each worker, pruner) -> row: what a Tune worker runs."""
REPORT_SECONDS = 0.5
"""Progress is sent to the driver at most this often: a report is a round trip between processes."""


class _RecycleActorError(Exception):
    """Ends the actor of a trial that failed or ran out of memory, so that the next trial gets a fresh one.

    After running out, an allocator keeps memory that the next trial would lack. After a fault of a GPU its process can
    use none.
    """


def run_trials_on_ray(trial_source: TrialSource, run: RunContext, trial_function: TrialFunction | None = None) -> None:
    """Run trials on the cluster that Ray is connected to.

    Args:
        trial_source: source of the trials.
        run: the run of the study.
        trial_function: runs a trial in a worker; None: `run_trial_on_ray`.
    """
    import ray
    from ray import tune

    # Known trials are sent to each worker once. A proposed trial is sent in its own Tune config.
    known_trials = ray.put({trial.fingerprint: trial for trial in trial_source.known_trials})
    store, tracker, display = run.store, run.tracker, run.display

    def trainable(config: TuneConfig) -> None:
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
            raise _RecycleActorError  # the trial itself has ended

    searcher = RayQueueSearcher(trial_source, list_ray_nodes(), store, display)
    tune_config = tune.TuneConfig(
        reuse_actors=True,
        trial_name_creator=_get_trial_name,
        search_alg=searcher,
        scheduler=_make_scheduler(searcher),
        num_samples=-1,
    )
    # Tune's own files are not needed later: a study resumes from our store, which may be away for a while.
    with tempfile.TemporaryDirectory(prefix="sweeper-tune-") as scratch:
        run_config = tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[_make_callback(display)],
            failure_config=tune.FailureConfig(max_failures=0),  # the queue decides about retries
        )
        named_trainable = _rename_trainable(
            tune.with_resources(_make_preemptible(trainable), _make_placement_group), run.plan.sweep.name
        )
        tuner = tune.Tuner(named_trainable, tune_config=tune_config, run_config=run_config)
        try:
            with display.metrics.publishing():
                tuner.fit()
        finally:
            searcher.request_nodes([])
    if summary := searcher.format_summary():
        display.print_line(summary)


@lru_cache(maxsize=1)
def _fetch_trials(trials_ref: ObjectRef[dict[str, PlannedTrial]]) -> dict[str, PlannedTrial]:
    """Fetch the trials in a worker, once: unpickling a thousand takes longer than Tune's overhead of a trial."""
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


def _get_trial_name(trial: Trial) -> str:
    """Return the name that the Ray dashboard shows: the arm and the seed."""
    return str(trial.config["name"])


def _make_placement_group(config: TuneConfig) -> PlacementGroupFactory:
    """Make the placement group of a trial from its config alone: this function is pickled with every trial."""
    from ray import tune

    label = {"bundle_label_selector": [{"ray.io/node-id": config["nodes"][0]}]} if config["pinned"] else {}
    return tune.PlacementGroupFactory([config["bundle"]], **label)


def _make_preemptible(trainable: Callable[[TuneConfig], None]) -> type[FunctionTrainable]:
    """Make a trainable whose actor saves a checkpoint on SIGTERM.

    The handler is installed in the main thread, which receives signals; Tune trains in another.
    """
    from ray.tune.trainable.function_trainable import wrap_function

    from sweeper.training.preemption import install_signal_handler

    class Preemptible(wrap_function(trainable, name="trial")):  # type: ignore[misc]
        def setup(self, config: TuneConfig) -> None:
            install_signal_handler()
            super().setup(config)

        def __repr__(self) -> str:
            # Ray reads this once, when the actor is made; the actor is reused for later trials.
            return f"first: {self.trial_name}"

    return Preemptible


def _rename_trainable(trainable: type[FunctionTrainable], study: str) -> type[FunctionTrainable]:
    """Name the class of the actors after the study, for the Ray dashboard."""
    trainable.__name__ = trainable.__qualname__ = study
    return trainable


def _make_scheduler(searcher: RayQueueSearcher) -> FIFOScheduler:
    """Make a scheduler that starts the trials that the queue has placed, and stops those whose node died."""
    from ray.tune.schedulers import FIFOScheduler

    class PlacedTrialScheduler(FIFOScheduler):  # type: ignore[misc]
        def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
            searcher.refresh_nodes()
            if searcher.stranded_trial_ids:  # pinned to a node that died: they would wait forever
                for trial in tune_controller.get_trials():
                    if trial.trial_id in searcher.stranded_trial_ids and trial.status == trial.PENDING:
                        tune_controller.stop_trial(trial)
            # Tune would keep one idle actor with its GPU, which a multi-worker trial may be waiting for.
            tune_controller._tune_controller._actor_cache._may_keep_one = False
            chosen: Trial | None = super().choose_trial_to_run(tune_controller)
            return chosen

    return PlacedTrialScheduler()


def _make_callback(display: ProgressDisplay) -> Callback:
    from ray import tune

    class DisplayCallback(tune.Callback):  # type: ignore[misc]
        """Updates the display from Tune's results."""

        def __init__(self, display: ProgressDisplay | None) -> None:
            self.display = display

        def __getstate__(self) -> dict[str, object]:
            """Leave the display out: Tune pickles callbacks to restore them, and it cannot be pickled."""
            return {"display": None}

        def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
            """Show a trial as started before its first report, which it may never send."""
            if self.display:
                self.display.on_progress(trial.config["fingerprint"], TrialProgress("training"))

        def on_trial_result(
            self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object
        ) -> None:
            """Show what a worker reported."""
            if self.display and "progress" in result:
                self.display.on_progress(trial.config["fingerprint"], result["progress"])
            if self.display and "row" in result:
                self.display.on_trial_end(result["row"])

    return DisplayCallback(display)
