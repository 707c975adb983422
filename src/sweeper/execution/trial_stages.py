"""The two stages of a trial, training and evaluation, as every backend runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from sweeper import data
from sweeper.config import EvaluationSpec, TrialSpec
from sweeper.errors import LostWorkerError, StorageUnavailableError
from sweeper.evaluation import compute_suite_fingerprint, evaluate_trial, extract_metrics
from sweeper.planning.plan import PlannedTrial
from sweeper.storage import Store
from sweeper.storage.availability import (
    OUTAGE_TIMEOUT_SECONDS,
    find_storage_fault,
    is_disk_full,
    wait_for_store,
    wait_until_writable,
)
from sweeper.tracking import Tracker
from sweeper.training import (
    FAILED,
    PRUNED,
    ProgressListener,
    Pruner,
    TrainingProgress,
    TrialJob,
    TrialProgress,
    TrialProgressListener,
    TrialRecord,
    TrialRow,
    WorkerLauncher,
    classify_failure,
    train_trial,
)
from sweeper.training.retention import may_delete_model
from sweeper.training.torchrun import make_torchrun_launcher

STORAGE_RETRIES = 5
"""Number of times that a trial is resumed after its storage was away."""
MakeLauncher = Callable[[ProgressListener], WorkerLauncher]
"""(progress listener) -> launcher of the workers of a multi-worker trial."""


def run_trial(
    trial: PlannedTrial,
    tracker: Tracker,
    on_progress: TrialProgressListener,
    *,
    evaluate: bool = True,
    make_launcher: MakeLauncher | None = None,
    pruner: Pruner | None = None,
) -> TrialRow:
    """Train and evaluate one trial, reusing what the store has. Waits for storage that is away.

    A failed evaluation leaves the trained model and its record as they are; `evaluation/<suite>/failure.json` has the
    failure.

    Args:
        tracker: logs its metrics; has the store.
        on_progress: receives progress reports.
        evaluate: whether to evaluate what was trained, if the trial has an evaluation.
        make_launcher: makes the launcher of a multi-worker trial; None starts its workers on this machine.
        pruner: may stop the training early.

    Returns:
        The row of the trial; a failure is in the row.

    Raises:
        PreemptedError, LostWorkerError: the trial can be resumed on another worker.
        StorageUnavailableError: the storage did not come back.
    """
    store = tracker.store
    for attempt in range(STORAGE_RETRIES + 1):
        try:
            wait_for_store(store)
            return _run_stages(trial, tracker, on_progress, evaluate, make_launcher, pruner)
        except (StorageUnavailableError, OSError) as error:
            fault = find_storage_fault(error, store)
            if not fault or attempt == STORAGE_RETRIES:
                raise
            reason = f"{fault} (for up to {OUTAGE_TIMEOUT_SECONDS / 60:g} minutes)"
            on_progress(TrialProgress("waiting for storage", reason=reason))
            if is_disk_full(fault):
                time.sleep(10 * 2**attempt)
            if not wait_until_writable(store):
                raise StorageUnavailableError(
                    store.location, found=fault, hint="free or mount it, then run again"
                ) from error
    raise AssertionError("unreachable")


def _run_stages(
    trial: PlannedTrial,
    tracker: Tracker,
    on_progress: TrialProgressListener,
    evaluate: bool,
    make_launcher: MakeLauncher | None,
    pruner: Pruner | None,
) -> TrialRow:
    with tracker.open_trial(trial) as logger:

        def on_training_progress(progress: TrainingProgress) -> None:
            logger.log(progress)
            on_progress(TrialProgress("training", progress))

        record = _train(trial, tracker.store, on_training_progress, make_launcher, pruner)
        row = TrialRow.from_record(record)
        if evaluate and trial.evaluation is not None and record.status not in (FAILED, PRUNED):
            on_progress(TrialProgress("evaluating"))
            row = _evaluate(row, trial.spec, trial.evaluation, tracker.store)
        logger.finish(row, record)
    return row


def _train(
    trial: PlannedTrial,
    store: Store,
    on_progress: ProgressListener,
    make_launcher: MakeLauncher | None,
    pruner: Pruner | None,
) -> TrialRecord:
    job = TrialJob(trial.spec, trial.fingerprint, trial.data_fingerprint)
    launcher = None
    if trial.is_multi_worker:
        launcher = (
            make_launcher(on_progress) if make_launcher else make_torchrun_launcher(job, store, on_progress, pruner)
        )
    return train_trial(
        job, lambda: data.open_prepared_data(store, job.data_fingerprint), store, on_progress, launcher, pruner
    )


def _evaluate(row: TrialRow, spec: TrialSpec, evaluation: EvaluationSpec, store: Store) -> TrialRow:
    fingerprint, threads = row.fingerprint, max(1, int(spec.runtime.cpus))
    suite = compute_suite_fingerprint(evaluation, spec.data)
    failure_path = store.evaluation_folder(fingerprint, suite) / "failure.json"
    try:
        summary = evaluate_trial(store, fingerprint, evaluation, spec.data, seed=spec.seed, threads=threads)
    except LostWorkerError:
        raise
    except Exception as error:  # a failure of this trial alone: the others continue
        if fault := find_storage_fault(error, store):
            raise StorageUnavailableError(store.location, found=fault) from error
        failure = classify_failure(error)
        store.publish(failure_path, failure.model_dump())
        if row.status == "DIVERGED" and failure.kind == "diverged":
            return row  # a result: it passes nothing
        return replace(
            row, status=FAILED, failure=failure.model_copy(update={"message": f"evaluation: {failure.message}"})
        )
    if failure_path.exists():
        store.delete(failure_path)
    if may_delete_model(spec.runtime.checkpoints, is_finished=True, is_evaluated=True):
        store.delete(store.trial_folder(fingerprint) / "model")
    return row.add_evaluation(extract_metrics(summary, evaluation), summary.out_of_memory_at)
