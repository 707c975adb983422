"""What an error is called decides who has to act, and whether another worker tries again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, TrainerState

from sweeper.errors import AppliedMismatchError, DataError, LostWorkerError
from sweeper.training import classify_failure
from sweeper.training.applied_settings import check_applied_settings
from sweeper.training.callbacks import AppliedSettingsCallback


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
def test_who_has_to_act(error: Exception, kind: str) -> None:
    assert classify_failure(error).kind == kind


def test_updates_that_fp16_skipped_are_counted_and_said() -> None:
    spec = SimpleNamespace(recipe=SimpleNamespace(segments=((0, {}), (10, {}))), engine=None)
    watch = AppliedSettingsCallback(spec)  # type: ignore[arg-type]
    for step, skipped in enumerate([True, True, False, True] + [False] * 8 + [True]):
        optimizer = SimpleNamespace(step_was_skipped=skipped)
        watch.on_optimizer_step(None, TrainerState(global_step=step), TrainerControl(), optimizer=optimizer)  # type: ignore[arg-type]
    assert [reading.updates_skipped for reading in watch.segment_settings] == [3, 1]
    with pytest.raises(AppliedMismatchError, match="4 updates skipped by fp16") as told:
        check_applied_settings({"learning_rate": 1.0}, {"learning_rate": 0.5, "updates_skipped": 4})
    assert "longer run" in told.value.hint
