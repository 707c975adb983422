"""Why a trial failed, and who has to act."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sweeper.errors import (
    BranchError,
    DataError,
    LostWorkerError,
    ModelError,
    NonFiniteModelError,
    PreemptedError,
    StorageUnavailableError,
    StoreError,
    UsageError,
    is_out_of_memory,
)

FailureKind = Literal["out-of-memory", "lost-worker", "bad-input", "bug", "damaged", "diverged"]
_SEVERITY: tuple[FailureKind, ...] = ("out-of-memory", "bad-input", "damaged", "diverged", "bug", "lost-worker")
"""Most severe first. A lost worker comes last: it is often the consequence of another worker's error."""

_LOST_PEER_PATTERN = re.compile(
    r"Dist(Backend|Network|Store)Error|Connection (closed|reset) by peer|gloo.*(timed out|closed|reset)|NCCL error"
)
"""Torch's errors in a worker whose partner died."""
_LOST_GPU_PATTERN = re.compile(r"CUDA error: .*(ECC|hardware|unavailable|busy|lost)", re.IGNORECASE)
"""Torch's errors for a GPU that is broken or taken (CUDA's `cudaError_t`). A device-side assert is a bug."""


class Failure(BaseModel):
    """Why a trial failed."""

    model_config = ConfigDict(frozen=True)

    kind: FailureKind
    """What was at fault: memory, the cluster, the user's input, this program, files of the store, or weights that are
    no numbers."""
    message: str
    """The error in one line or a few."""
    traceback: str
    """The whole Python traceback."""


class WorkerFailedError(Exception):
    """The failure of one of several workers, in another process."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure.message


def classify_failure(error: BaseException) -> Failure:
    """Classify an exception raised by a trial. Anything unknown is a bug."""
    if isinstance(error, WorkerFailedError):
        return error.failure
    text = "".join(traceback.format_exception(error))
    return Failure(kind=_find_kind(error), message=f"{type(error).__name__}: {error}", traceback=text)


def _find_kind(error: BaseException) -> FailureKind:
    if is_out_of_memory(error):
        return "out-of-memory"
    is_lost = isinstance(error, LostWorkerError | PreemptedError)
    if is_lost or _LOST_PEER_PATTERN.search(f"{type(error).__name__}: {error}") or _LOST_GPU_PATTERN.search(str(error)):
        return "lost-worker"
    if isinstance(error, NonFiniteModelError):
        return "diverged"
    if isinstance(error, BranchError | DataError | ModelError | UsageError):
        return "bad-input"
    return "damaged" if isinstance(error, StoreError) else "bug"


def find_most_severe(failures: Sequence[Failure]) -> Failure | None:
    """Return the most severe failure of a trial's workers; None without any."""
    return min(failures, key=lambda failure: _SEVERITY.index(failure.kind), default=None)


def make_error(failures: Sequence[Failure], fingerprint: str, fallback_message: str) -> Exception:
    """Make the error of a trial whose workers, in processes of their own, failed.

    Args:
        failures: those that the workers reported. A killed worker reports none, and the others only that it is gone.
        fingerprint: the trial.
        fallback_message: the launcher's own message, for workers that reported nothing.
    """
    for error_class in (PreemptedError, StorageUnavailableError):
        messages = [failure.message for failure in failures if failure.message.startswith(error_class.__name__)]
        if messages:
            return error_class(f"trial {fingerprint}", found=messages[0], hint="run again to resume")
    worst = find_most_severe(failures)
    if worst is not None and worst.kind != "lost-worker":
        return WorkerFailedError(worst)
    found = worst.message if worst else fallback_message
    return LostWorkerError(f"trial {fingerprint}", found=f"a worker died: {found}", hint="run again to resume")
