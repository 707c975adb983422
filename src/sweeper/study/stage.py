"""One trial's two stages, training and evaluation, as every backend runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sweeper import data, evaluate
from sweeper.errors import LostWorkerError, StorageAwayError
from sweeper.spec import DataSpec, EvaluationSpec, TrialSpec
from sweeper.store import Store
from sweeper.store.away import is_full, require_store, storage_fault, wait_until_back
from sweeper.study.plan import PlannedTrial
from sweeper.tracking import Tracker
from sweeper.trial import FAILED, PRUNED, Launch, Pruner, TrialRecord, failure_of, train_trial
from sweeper.trial.launch import launch_here
from sweeper.trial.retention import model_can_go

Tell = Callable[[dict[str, Any]], None]
STORAGE_RETRIES = 5
"""So often a trial is taken up again after the storage went away and came back."""


def run_trial(
    planned: PlannedTrial,
    evaluation: EvaluationSpec | None,
    store: Store,
    tracker: Tracker,
    tell: Tell,
    launch: Callable[[Tell], Launch] | None = None,
    pruner: Pruner | None = None,
) -> dict[str, Any]:
    """Train and evaluate one planned trial, reusing what the store has. Returns its row; a failure is in the row.

    `launch` starts the workers of a several-worker trial; without it they are processes of this machine. `pruner` may
    stop it early. A failed evaluation never costs the training run: its own record, `evaluation/<suite>/failure.json`,
    says why. Storage that goes away is waited for. Raises PreemptedError and LostWorkerError: the trial can go on
    elsewhere.
    """
    for attempt in range(STORAGE_RETRIES + 1):
        try:
            require_store(store)
            return _stages(planned, evaluation, store, tracker, tell, launch, pruner)
        except (StorageAwayError, OSError) as error:
            away = storage_fault(error, store)
            if not away or attempt == STORAGE_RETRIES:
                raise
            tell({"stage": "waiting for storage"})
            if is_full(away):
                time.sleep(10 * 2**attempt)
            if not wait_until_back(store):
                raise StorageAwayError(store.location, found=away, do="free or mount it, then run again") from error
    raise AssertionError("unreachable")


def _stages(
    planned: PlannedTrial,
    evaluation: EvaluationSpec | None,
    store: Store,
    tracker: Tracker,
    tell: Tell,
    launch: Callable[[Tell], Launch] | None,
    pruner: Pruner | None,
) -> dict[str, Any]:
    spec, fingerprint = planned.spec, planned.fingerprint
    with tracker.trial(planned) as track:

        def told(progress: dict[str, Any]) -> None:
            track.log(progress)
            tell({"stage": "training", **progress})

        record = _trained(planned, store, told, launch, pruner)
        metrics = dict(record.metrics) | {"parameters": record.parameters}
        row: dict[str, Any] = {"fingerprint": fingerprint, "status": record.status, "metrics": metrics}
        if too_much := record.environment.get("out_of_memory_at"):
            row["out_of_memory_at"] = too_much
        if record.status in (FAILED, PRUNED) or evaluation is None:
            row["failure"] = record.failure.message if record.failure else None
            row["failure_kind"] = record.failure.kind if record.failure else None
        else:
            tell({"stage": "evaluating"})
            row |= _evaluated(row, spec, fingerprint, evaluation, spec.data, store)
        track.finish(row, record)
    return row


def _trained(
    planned: PlannedTrial,
    store: Store,
    told: Tell,
    launch: Callable[[Tell], Launch] | None,
    pruner: Pruner | None,
) -> TrialRecord:
    spec, fingerprint = planned.spec, planned.fingerprint
    start = None
    if spec.engine is not None and spec.engine.distributed:
        start = launch(told) if launch else launch_here(spec, fingerprint, planned.data, store, told, pruner)
    return train_trial(spec, fingerprint, lambda: data.open_prepared(store, planned.data), store, told, start, pruner)


def _evaluated(
    row: dict[str, Any],
    spec: TrialSpec,
    fingerprint: str,
    evaluation: EvaluationSpec,
    data_spec: DataSpec,
    store: Store,
) -> dict[str, Any]:
    threads = max(1, int(spec.runtime.cpus))
    failure_path = store.evaluation(fingerprint, evaluate.suite_fingerprint(evaluation, data_spec)) / "failure.json"
    try:
        summary = evaluate.evaluate_trial(store, fingerprint, evaluation, data_spec, seed=spec.seed, threads=threads)
    except LostWorkerError:
        raise
    except Exception as error:  # kept as this trial's failure, so that the other trials go on
        if away := storage_fault(error, store):
            raise StorageAwayError(store.location, found=away) from error
        failure = failure_of(error)
        store.publish(failure_path, failure.model_dump())
        return {"status": FAILED, "failure": f"evaluation: {failure.message}", "failure_kind": failure.kind}
    if failure_path.exists():
        store.remove(failure_path)
    if model_can_go(spec.runtime.checkpoints, finished=True, evaluated=True):
        store.remove(store.trial(fingerprint) / "model")
    found: dict[str, Any] = {"metrics": row["metrics"] | evaluate.metrics_of(summary, evaluation)}
    if too_much := row.get("out_of_memory_at", []) + summary.get("out_of_memory_at", []):
        found["out_of_memory_at"] = too_much
    return found
