"""The kind of a failure decides who has to act, and whether another worker retries."""

from __future__ import annotations

import pytest
import torch

from sweeper.errors import (
    BranchError,
    DataError,
    LostWorkerError,
    ModelError,
    PreemptedError,
    StorageUnavailableError,
    StoreError,
    UsageError,
)
from sweeper.training import Failure, WorkerFailedError, classify_failure, make_error
from sweeper.training.failures import FailureKind, find_most_severe


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out-of-memory"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "lost-worker"),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"), "lost-worker"),
        (RuntimeError("CUDA error: device-side assert triggered"), "bug"),
        (LostWorkerError("trial", found="gone"), "lost-worker"),
        (DataError("data", found="nothing"), "bad-input"),
        (StoreError("rows.arrow", found="damaged"), "damaged"),
        (KeyError("x"), "bug"),
    ],
    ids=str,
)
def test_classify_failure_decides_who_has_to_act(error: Exception, kind: str) -> None:
    assert classify_failure(error).kind == kind


def fail(kind: FailureKind, message: str = "m") -> Failure:
    return Failure(kind=kind, message=message, traceback="t")


@pytest.mark.parametrize("error_class", [BranchError, ModelError, UsageError])
def test_classify_failure_blames_the_input_for_our_own_refusals(error_class: type[Exception]) -> None:
    assert classify_failure(error_class("here", found="x")).kind == "bad-input"  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "message",
    ["[gloo] Connection closed by peer [127.0.0.1]:4242", "gloo: operation timed out", "NCCL error in: socket.cpp"],
)
def test_classify_failure_recognizes_a_lost_partner(message: str) -> None:
    assert classify_failure(RuntimeError(message)).kind == "lost-worker"


def test_classify_failure_keeps_message_and_traceback() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        failure = classify_failure(error)
    assert failure.message == "KeyError: 'x'"
    assert "test_failures.py" in failure.traceback
    assert classify_failure(WorkerFailedError(failure)) is failure


def test_find_most_severe_prefers_out_of_memory_and_a_lost_worker_least() -> None:
    kinds: list[FailureKind] = ["lost-worker", "bug", "bad-input", "out-of-memory"]
    assert [find_most_severe([fail(kind) for kind in kinds[: n + 1]]).kind for n in range(4)] == kinds  # type: ignore[union-attr]
    assert find_most_severe([]) is None


def test_make_error_returns_the_cause_rather_than_its_consequences() -> None:
    consequences = [fail("lost-worker", "Connection reset by peer")] * 2
    error = make_error([*consequences, fail("bug", "KeyError: 'x'")], "f", "log")
    assert isinstance(error, WorkerFailedError)
    assert str(error) == "KeyError: 'x'"
    error = make_error(consequences, "f", "log")
    assert isinstance(error, LostWorkerError)
    assert "Connection reset" in str(error)


def test_make_error_of_silent_workers_has_the_launchers_log() -> None:
    error = make_error([], "f", "Killed: signal 9")
    assert isinstance(error, LostWorkerError)
    assert "Killed: signal 9" in str(error)


@pytest.mark.parametrize("error_class", [PreemptedError, StorageUnavailableError])
def test_make_error_restores_preemption_and_lost_storage(error_class: type[Exception]) -> None:
    failure = classify_failure(error_class("trial f", found="gone"))  # type: ignore[call-arg]
    error = make_error([fail("bug"), failure], "f", "log")
    assert type(error) is error_class
    assert "gone" in str(error)
