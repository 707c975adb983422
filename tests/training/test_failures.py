"""The kind of a failure decides who has to act, and whether another worker retries."""

from __future__ import annotations

import pytest
import torch

from sweeper.errors import DataError, LostWorkerError
from sweeper.training import classify_failure


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
        (KeyError("x"), "bug"),
    ],
    ids=str,
)
def test_classify_failure_decides_who_has_to_act(error: Exception, kind: str) -> None:
    assert classify_failure(error).kind == kind
