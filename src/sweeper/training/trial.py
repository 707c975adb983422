"""TrialSpec + prepared data -> trained model and record, under a lock, going on from a checkpoint if there is one."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from sweeper.config import TrialSpec
from sweeper.errors import LostWorkerError, PreemptedError, StorageUnavailableError
from sweeper.storage import Store, write_json
from sweeper.storage.availability import find_storage_fault
from sweeper.training.engine import split_for_trial
from sweeper.training.progress import ProgressListener
from sweeper.training.record import FAILED, PRUNED, TrialRecord, classify_failure, publish_failure, read_record
from sweeper.training.worker import train_worker

if TYPE_CHECKING:
    from sweeper.data import PreparedData
    from sweeper.training.pruning import Pruner

WorkerLauncher = Callable[[int | None, int | None], None]
"""Runs `train_worker` on all workers of a trial, with this bound on the micro-batch and under the lock of this
generation (`Hold.generation`); raises what one of them raised."""


def train_trial(
    spec: TrialSpec,
    fingerprint: str,
    prepare: Callable[[], PreparedData],
    store: Store,
    on_progress: ProgressListener,
    launch: WorkerLauncher | None = None,
    pruner: Pruner | None = None,
) -> TrialRecord:
    """Train one model, unless a finished record exists. Never raises for a failed trial: the record says so.

    It trains in this process, or, with `launch`, in processes of its own. Two processes asked for the same trial take
    turns on a lock; the second finds the first's record. A FAILED record is tried again. Out of memory: again with half
    the micro-batch. `pruner` may stop it early; a PRUNED record is no result for who asks without one: it is trained to
    the end. KeyboardInterrupt, PreemptedError and LostWorkerError pass through, and leave the checkpoints.
    """

    path = store.record_path(fingerprint)
    with store.lock_folder(path.parent) as hold:
        store.pull(path.parent, patterns=["record.json"])
        record = read_record(path)
        if (
            record is not None
            and record.status != FAILED
            and (record.status != PRUNED or (pruner and pruner.is_stopped))
        ):
            return record

        def here(at_most: int | None, generation: int | None) -> None:
            train_worker(spec, fingerprint, prepare(), store, on_progress, at_most, hold.check_lease, pruner)

        write_json(path.parent / "spec.json", spec.model_dump(mode="json"))
        store.push(path.parent / "spec.json")
        try:
            smaller = _retry_out_of_memory(launch or here, spec, hold.generation)
            store.pull(path.parent, patterns=["record.json"])  # several workers write it on another machine
            record = read_record(path)
            if record is None or record.status == FAILED or (record.status == PRUNED and pruner is None):
                raise LostWorkerError(
                    f"trial {fingerprint}", found="its workers ended and left no record", hint="run again"
                )
            if smaller:
                record = record.model_copy(update={"environment": record.environment | {"out_of_memory_at": smaller}})
                store.publish(path, record.model_dump(mode="json"))
        except (PreemptedError, LostWorkerError):
            raise
        except Exception as error:  # a trial that raises is a row, not the end of the study
            if away := find_storage_fault(error, store):
                raise StorageUnavailableError(
                    store.location, found=away, hint="free or mount it, then run again"
                ) from error
            failure = classify_failure(error)
            if failure.kind == "lost-worker":  # a GPU that broke is no end of the trial either
                raise LostWorkerError(
                    f"trial {fingerprint}", found=failure.message, hint="run again to go on"
                ) from error
            hold.check_lease()
            publish_failure(store, fingerprint, spec.model.name, failure)
            record = read_record(path)
            if record is None:
                raise
        _free_memory()
        return record


def _retry_out_of_memory(launch: WorkerLauncher, spec: TrialSpec, generation: int | None) -> list[int]:
    """Launch; out of memory, with half the micro-batch and so on down to 1. Returns the sizes that were too much."""
    too_much: list[int] = []
    at_most = None
    while True:
        try:
            launch(at_most, generation)
            return too_much
        except Exception as error:
            size = split_for_trial(spec, at_most).micro_batch
            if classify_failure(error).kind != "out-of-memory" or size == 1:
                raise
            too_much.append(size)
            at_most = size // 2
        _free_memory()  # outside of `except`: the error holds on to the trainer


def _free_memory() -> None:
    """Give back what a trainer leaves: it refers to itself, so that its model and optimiser would lie on the GPU while
    the model is evaluated, and the allocator keeps what it had from the system for each of a warm worker's threads."""
    gc.collect()
    torch = sys.modules.get("torch")  # who only starts a trial's workers has not loaded it
    if torch is not None and torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # after a fault on the GPU; the trial's own error says more
            torch.cuda.empty_cache()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's alone
        trim(0)
