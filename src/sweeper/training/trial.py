"""Train one trial under a lock, resuming from a checkpoint if there is one, and write its record."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable

from sweeper.config import TrialSpec
from sweeper.data import PreparedData
from sweeper.errors import LostWorkerError, PreemptedError, StorageUnavailableError
from sweeper.interrupts import collect_garbage
from sweeper.storage import Store, write_json
from sweeper.storage.availability import find_storage_fault
from sweeper.training.batching import split_for_trial
from sweeper.training.failures import classify_failure
from sweeper.training.job import TrialJob
from sweeper.training.progress import ProgressListener
from sweeper.training.pruning import Pruner
from sweeper.training.record import FAILED, PRUNED, TrialRecord, publish_failure, read_record
from sweeper.training.worker import train_worker

WorkerLauncher = Callable[[int | None, int | None], None]
"""(bound on the micro-batch, generation of the trial's lock) -> None: runs `train_worker` on all workers of a trial,
and raises what one of them raised."""


def train_trial(
    job: TrialJob,
    open_data: Callable[[], PreparedData],
    store: Store,
    on_progress: ProgressListener,
    launch: WorkerLauncher | None = None,
    pruner: Pruner | None = None,
) -> TrialRecord:
    """Train one model, unless a finished record exists. A failed trial is a record, not an exception.

    Two processes with the same trial take turns on a lock; the second one returns the first's record. A FAILED record
    is retried. Out of memory is retried with half the micro-batch. Without `pruner`, a PRUNED record is trained to the
    end.

    Args:
        open_data: opens its prepared data; called only where this process trains.
        store: where it is written.
        on_progress: receives the run's numbers.
        launch: runs the workers in processes of their own; None trains in this one.
        pruner: the search that may stop the trial early.

    Returns:
        The record.

    Raises:
        PreemptedError: the machine is being reclaimed; the checkpoints stay.
        LostWorkerError: a worker or the storage is gone; the checkpoints stay.
        KeyboardInterrupt: the user stopped it; the checkpoints stay.
    """
    path = store.record_path(job.fingerprint)
    with store.lock_folder(path.parent) as lock:
        store.pull(path.parent, patterns=["record.json"])
        record = read_record(path)
        if record is not None and _is_final(record, is_stopped=pruner is not None and pruner.is_stopped):
            return record

        def train_here(max_micro_batch: int | None, generation: int | None) -> None:
            train_worker(
                job,
                open_data(),
                store,
                on_progress,
                max_micro_batch=max_micro_batch,
                check_lease=lock.check_lease,
                pruner=pruner,
            )

        write_json(path.parent / "spec.json", job.spec.model_dump(mode="json"))
        store.push(path.parent / "spec.json")
        try:
            too_large = _retry_out_of_memory(launch or train_here, job.spec, lock.generation)
            store.pull(path.parent, patterns=["record.json"])  # several workers write it on another machine
            record = read_record(path)
            if record is None or not _is_final(record, is_stopped=pruner is not None):
                raise LostWorkerError(
                    f"trial {job.fingerprint}", found="its workers ended without a record", hint="run again"
                )
            if too_large:
                record = record.model_copy(update={"environment": record.environment | {"out_of_memory_at": too_large}})
                store.publish(path, record.model_dump(mode="json"))
        except (PreemptedError, LostWorkerError):
            raise
        except Exception as error:  # one failed trial does not stop the study
            record = _record_failure(error, job, store, lock.check_lease)
        _free_memory()
        return record


def _is_final(record: TrialRecord, *, is_stopped: bool) -> bool:
    """Return whether a record ends its trial; PRUNED does only for the search that stopped it."""
    return record.status != FAILED and (record.status != PRUNED or is_stopped)


def _record_failure(error: Exception, job: TrialJob, store: Store, check_lease: Callable[[], None]) -> TrialRecord:
    """Publish and return the record of a failed trial.

    Raises:
        LostWorkerError: the storage or a GPU is gone, which does not end the trial.
        Exception: `error`, where no record could be written.
    """
    if fault := find_storage_fault(error, store):
        raise StorageUnavailableError(store.location, found=fault, hint="free or mount it, then run again") from error
    failure = classify_failure(error)
    if failure.kind == "lost-worker":
        raise LostWorkerError(f"trial {job.fingerprint}", found=failure.message, hint="run again to resume") from error
    check_lease()
    publish_failure(store, job.fingerprint, job.spec.model.name, failure)
    record = read_record(store.record_path(job.fingerprint))
    if record is None:
        raise error
    return record


def _retry_out_of_memory(launch: WorkerLauncher, spec: TrialSpec, generation: int | None) -> list[int]:
    """Launch; after running out of memory again with half the micro-batch, down to 1.

    Returns:
        The micro-batches that did not fit.
    """
    too_large: list[int] = []
    max_micro_batch = None
    while True:
        try:
            launch(max_micro_batch, generation)
            return too_large
        except Exception as error:
            size = split_for_trial(spec, max_micro_batch).micro_batch
            if classify_failure(error).kind != "out-of-memory" or size == 1:
                raise
            too_large.append(size)
            max_micro_batch = size // 2
        _free_memory()  # outside of `except`: the error keeps the trainer alive


def _free_memory() -> None:
    """Free what a trainer leaves behind.

    A trainer refers to itself, so without a collection its model and optimizer would stay on the GPU during the
    evaluation; and the allocator keeps memory for each of a warm worker's threads.
    """
    collect_garbage()
    torch = sys.modules.get("torch")  # a process that only launches workers has not loaded it
    if torch is not None and torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # after a GPU fault, the trial's own error is more useful
            torch.cuda.empty_cache()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # only in glibc
        trim(0)
