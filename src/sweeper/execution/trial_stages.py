"""One trial's two stages, training and evaluation, as every backend runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sweeper import data
from sweeper.config import EvaluationSpec, TrialSpec
from sweeper.errors import LostWorkerError, StorageUnavailableError
from sweeper.evaluation import compute_suite_fingerprint, evaluate_trial, extract_metrics
from sweeper.planning.plan import PlannedTrial
from sweeper.storage import Store
from sweeper.storage.availability import find_storage_fault, is_disk_full, wait_for_store, wait_until_writable
from sweeper.tracking import Tracker
from sweeper.training import (
    FAILED,
    PRUNED,
    ProgressListener,
    Pruner,
    TrainingProgress,
    TrialRecord,
    TrialRow,
    WorkerLauncher,
    classify_failure,
    train_trial,
)
from sweeper.training.retention import may_delete_model
from sweeper.training.torchrun import launch_torchrun

TrialProgressListener = Callable[[dict[str, Any]], None]
STORAGE_RETRIES = 5
"""So often a trial is taken up again after the storage went away and came back."""


def run_trial(
    planned: PlannedTrial,
    evaluation: EvaluationSpec | None,
    store: Store,
    tracker: Tracker,
    on_progress: TrialProgressListener,
    make_launcher: Callable[[ProgressListener], WorkerLauncher] | None = None,
    pruner: Pruner | None = None,
) -> TrialRow:
    """Train and evaluate one planned trial, reusing what the store has. Returns its row; a failure is in the row.

    `launch` starts the workers of a several-worker trial; without it they are processes of this machine. `pruner` may
    stop it early. A failed evaluation never costs the training run: its own record, `evaluation/<suite>/failure.json`,
    says why. Storage that goes away is waited for. Raises PreemptedError and LostWorkerError: the trial can go on
    elsewhere.
    """
    for attempt in range(STORAGE_RETRIES + 1):
        try:
            wait_for_store(store)
            return _run_stages(planned, evaluation, store, tracker, on_progress, make_launcher, pruner)
        except (StorageUnavailableError, OSError) as error:
            away = find_storage_fault(error, store)
            if not away or attempt == STORAGE_RETRIES:
                raise
            on_progress({"stage": "waiting for storage"})
            if is_disk_full(away):
                time.sleep(10 * 2**attempt)
            if not wait_until_writable(store):
                raise StorageUnavailableError(
                    store.location, found=away, hint="free or mount it, then run again"
                ) from error
    raise AssertionError("unreachable")


def _run_stages(
    planned: PlannedTrial,
    evaluation: EvaluationSpec | None,
    store: Store,
    tracker: Tracker,
    on_progress: TrialProgressListener,
    make_launcher: Callable[[ProgressListener], WorkerLauncher] | None,
    pruner: Pruner | None,
) -> TrialRow:
    spec = planned.spec
    with tracker.open_trial(planned) as track:

        def told(progress: TrainingProgress) -> None:
            track.log(progress)
            on_progress({"stage": "training", **progress.to_document()})

        record = _train_stage(planned, store, told, make_launcher, pruner)
        row = TrialRow.from_record(record)
        if record.status not in (FAILED, PRUNED) and evaluation is not None:
            on_progress({"stage": "evaluating"})
            row = _evaluate_stage(row, spec, evaluation, store)
        track.finish(row, record)
    return row


def _train_stage(
    planned: PlannedTrial,
    store: Store,
    on_progress: ProgressListener,
    make_launcher: Callable[[ProgressListener], WorkerLauncher] | None,
    pruner: Pruner | None,
) -> TrialRecord:
    spec, fingerprint = planned.spec, planned.fingerprint
    start = None
    if spec.engine is not None and spec.engine.distributed:
        start = (
            make_launcher(on_progress)
            if make_launcher
            else launch_torchrun(spec, fingerprint, planned.data_fingerprint, store, on_progress, pruner)
        )
    return train_trial(
        spec,
        fingerprint,
        lambda: data.open_prepared_data(store, planned.data_fingerprint),
        store,
        on_progress,
        start,
        pruner,
    )


def _evaluate_stage(row: TrialRow, spec: TrialSpec, evaluation: EvaluationSpec, store: Store) -> TrialRow:
    fingerprint, threads = row.fingerprint, max(1, int(spec.runtime.cpus))
    suite = compute_suite_fingerprint(evaluation, spec.data)
    failure_path = store.evaluation_folder(fingerprint, suite) / "failure.json"
    try:
        summary = evaluate_trial(store, fingerprint, evaluation, spec.data, seed=spec.seed, threads=threads)
    except LostWorkerError:
        raise
    except Exception as error:  # kept as this trial's failure, so that the other trials go on
        if away := find_storage_fault(error, store):
            raise StorageUnavailableError(store.location, found=away) from error
        failure = classify_failure(error)
        store.publish(failure_path, failure.model_dump())
        return replace(
            row, status=FAILED, failure=failure.model_copy(update={"message": f"evaluation: {failure.message}"})
        )
    if failure_path.exists():
        store.delete(failure_path)
    if may_delete_model(spec.runtime.checkpoints, is_finished=True, is_evaluated=True):
        store.delete(store.trial_folder(fingerprint) / "model")
    return row.add_evaluation(extract_metrics(summary, evaluation), summary.out_of_memory_at)
