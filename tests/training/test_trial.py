"""One trial without Ray: it ends in a record, or resumes."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trial import CONFIG, train_tiny

from sweeper import data
from sweeper.config import ModelSpec
from sweeper.errors import LostWorkerError
from sweeper.storage import Store
from sweeper.training import TrainingProgress


@pytest.mark.slow
def test_broken_gpu_is_a_lost_worker_and_the_trial_resumes(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.training.sft_trainer import LeanSFTTrainer

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    with monkeypatch.context() as patch:
        patch.setattr(LeanSFTTrainer, "training_step", broken)
        with pytest.raises(LostWorkerError, match="ECC"):
            train_tiny(prepared, tmp_path)
    assert not Store(tmp_path).record_path("f").exists()
    assert train_tiny(prepared, tmp_path).status == "COMPLETE"


@pytest.mark.slow
def test_out_of_memory_halves_the_micro_batch_and_nothing_else(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.training.sft_trainer import LeanSFTTrainer

    step = LeanSFTTrainer.training_step

    def too_large(self: Any, model: Any, inputs: dict[str, torch.Tensor], *rest: Any, **more: Any) -> torch.Tensor:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("the allocator has no more")
        return step(self, model, inputs, *rest, **more)

    monkeypatch.setattr(LeanSFTTrainer, "training_step", too_large)
    record = train_tiny(prepared, tmp_path, num_train_epochs=1)
    assert record.status == "COMPLETE", record.failure
    assert record.environment["out_of_memory_at"] == [8, 4]
    assert record.environment["micro_batch"] == 2
    assert record.applied["effective_batch_size"] == record.asked["effective_batch_size"] == 8
    assert record.metrics["steps"] == 8


@pytest.mark.slow
def test_out_of_memory_at_one_example_fails_the_trial(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.training.sft_trainer import LeanSFTTrainer

    def run_out(*arguments: Any, **more: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("the allocator has no more")

    monkeypatch.setattr(LeanSFTTrainer, "training_step", run_out)
    record = train_tiny(prepared, tmp_path)
    assert record.status == "FAILED"
    assert record.failure is not None
    assert record.failure.kind == "out-of-memory"


@pytest.mark.slow
def test_finished_trial_is_not_trained_again(prepared: data.PreparedData, tmp_path: Path) -> None:
    first = train_tiny(prepared, tmp_path)
    reports: list[TrainingProgress] = []
    assert train_tiny(prepared, tmp_path, reports.append) == first
    assert reports == []


@pytest.mark.slow
def test_trained_model_is_freed_from_memory(prepared: data.PreparedData, tmp_path: Path) -> None:
    def models() -> set[int]:
        return {id(item) for item in gc.get_objects() if type(item).__name__ == "OPTForCausalLM"}

    gc.collect()
    before = models()
    gc.disable()  # reference cycles then stay unless the trainer frees them
    try:
        assert train_tiny(prepared, tmp_path).status == "COMPLETE"
        assert models() <= before
    finally:
        gc.enable()


@pytest.mark.slow
def test_trial_that_raises_has_a_record_and_is_retried(prepared: data.PreparedData, tmp_path: Path) -> None:
    def fail(progress: TrainingProgress) -> None:
        raise ZeroDivisionError("planted")

    record = train_tiny(prepared, tmp_path, fail)
    assert record.status == "FAILED"
    assert record.failure is not None
    assert (record.failure.kind, "planted" in record.failure.traceback) == ("bug", True)
    assert train_tiny(prepared, tmp_path).status == "COMPLETE"


@pytest.mark.slow
def test_rows_longer_than_the_models_positions_fail_the_trial(prepared: data.PreparedData, tmp_path: Path) -> None:
    short = ModelSpec(name="short", config=CONFIG | {"max_position_embeddings": 20})
    record = train_tiny(prepared, tmp_path, model=short)
    assert record.failure is not None
    assert "20 positions" in record.failure.message
    assert record.failure.kind == "bad-input"
