"""A trial's record: what came out, what was asked, and what was applied."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.errors import (
    BranchError,
    DataError,
    LostWorkerError,
    ModelError,
    PreemptedError,
    StorageUnavailableError,
    StoreError,
    UsageError,
    is_out_of_memory,
)
from sweeper.storage import Store, read_json

COMPLETE: Literal["COMPLETE"] = "COMPLETE"
DIVERGED: Literal["DIVERGED"] = "DIVERGED"
FAILED: Literal["FAILED"] = "FAILED"
PRUNED: Literal["PRUNED"] = "PRUNED"


_LOST_PEER_PATTERN = re.compile(
    r"Dist(Backend|Network|Store)Error|Connection (closed|reset) by peer|gloo.*(timed out|closed|reset)|NCCL error"
)
"""What torch says in a worker whose partner died: no fault of its own."""
_LOST_GPU_PATTERN = re.compile(r"CUDA error: .*(ECC|hardware|unavailable|busy|lost)", re.IGNORECASE)
"""What it says of a GPU that is broken or taken (CUDA's runtime API, `cudaError_t`); a device-side assert is a bug."""


class Failure(BaseModel):
    """Why a trial failed."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["out-of-memory", "lost-worker", "bad-input", "bug"]
    """Who has to act: the hardware, the cluster, the user or us."""
    message: str
    """The error in one line or a few."""
    traceback: str
    """The whole Python traceback."""


class TrialRecord(BaseModel):
    """Content of record.json. Without this file a trial did not finish."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    """The trial's identity."""
    status: Literal["COMPLETE", "DIVERGED", "FAILED", "PRUNED"]
    """How it ended; a divergence is a result, a failure is not; a search pruned it at a rung."""
    model: str
    """Name of the model."""
    parameters: int | None = None
    """Trainable parameters."""
    metrics: dict[str, float | None] = {}
    """val_loss and train_loss (nats per target token), steps, tokens, train_seconds, best_val_loss. All of them, time
    and FLOPs too, are those of the whole schedule. Of a trial that went on from another one's branch point also
    `branched_from_step`, and `own_train_seconds`: what it took itself, after that step."""
    asked: dict[str, Any] = {}
    """What the specification asked for."""
    applied: dict[str, Any] = {}
    """The same, read back from optimiser, trainer and model."""
    data: dict[str, Any] = {}
    """The data manifest's counts: examples kept, truncated and dropped with reasons."""
    failure: Failure | None = None
    """Set when the status is FAILED."""
    resumed_from_step: int | None = None
    """Optimiser step of the checkpoint it went on from, if it was interrupted."""
    environment: dict[str, Any] = {}
    """Versions, device and host name where it ran, workers and micro-batch; `logits_of`: "targets", or "all" for an
    architecture whose loss is left to itself; `out_of_memory_at`: micro-batches that did not fit."""


def read_record(path: Path) -> TrialRecord | None:
    """The record at `path`, None where there is none. Raises StoreError for one that does not fit."""
    if not path.exists():
        return None
    try:
        return TrialRecord.model_validate(read_json(path))
    except ValidationError as error:
        raise StoreError(str(path), found=f"not a trial record: {error}", hint="delete it and run again") from error


def read_status(path: Path) -> str | None:
    """The status alone, None where there is no record. Raises StoreError for what is no record at all.

    Of ten thousand records, validating the rest of each would be most of a plan's time.
    """
    if not path.exists():
        return None
    found = read_json(path)
    status = found.get("status") if isinstance(found, dict) else None
    if status not in (COMPLETE, DIVERGED, FAILED, PRUNED):
        raise StoreError(str(path), found="not a trial record", hint="delete it and run again")
    return str(status)


class WorkerFailedError(Exception):
    """One of several workers failed, in another process: what it said of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure.message


def most_severe(failures: Sequence[Failure]) -> Failure | None:
    """What several workers of one trial say, in one: out of memory before all else, a lost partner last."""
    order = ("out-of-memory", "bad-input", "bug", "lost-worker")
    return min(failures, key=lambda failure: order.index(failure.kind), default=None)


def error_from_failures(failures: Sequence[Failure], fingerprint: str, fallback_message: str) -> Exception:
    """What to raise for a trial whose workers, in processes of their own, said this before they ended.

    One that was killed says nothing, and the others only that it is gone; `otherwise` is what the launcher says.
    """
    for kind in (PreemptedError, StorageUnavailableError):
        if said := [failure.message for failure in failures if failure.message.startswith(kind.__name__)]:
            return kind(f"trial {fingerprint}", found=said[0], hint="run again to go on")
    worst = most_severe(failures)
    if worst is not None and worst.kind != "lost-worker":
        return WorkerFailedError(worst)
    found = worst.message if worst else fallback_message
    return LostWorkerError(f"trial {fingerprint}", found=f"a worker died: {found}", hint="run again to go on")


def publish_failure(store: Store, fingerprint: str, model: str, failure: Failure) -> None:
    """A FAILED record, unless the trial has ended before: what is wrong now costs no finished training."""
    path = store.record_path(fingerprint)
    before = read_record(path)
    if before is None or before.status in (FAILED, PRUNED):  # one that a search stopped is being trained to its end
        record = TrialRecord(fingerprint=fingerprint, status=FAILED, model=model, failure=failure)
        store.publish(path, record.model_dump(mode="json"))


def classify_failure(error: BaseException) -> Failure:
    """Classify an exception raised by a trial."""
    if isinstance(error, WorkerFailedError):
        return error.failure
    name = type(error).__name__
    kind: Literal["out-of-memory", "lost-worker", "bad-input", "bug"] = "bug"
    if is_out_of_memory(error):
        kind = "out-of-memory"
    elif (
        isinstance(error, LostWorkerError | PreemptedError)
        or _LOST_PEER_PATTERN.search(f"{name}: {error}")
        or _LOST_GPU_PATTERN.search(str(error))
    ):
        kind = "lost-worker"
    elif isinstance(error, BranchError | DataError | ModelError | UsageError):
        kind = "bad-input"
    text = "".join(traceback.format_exception(error))
    return Failure(kind=kind, message=f"{name}: {error}", traceback=text)
