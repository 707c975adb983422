"""What interrupts a trial: too little memory, a machine that goes, a damaged checkpoint. Its end is the same."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_trial import DATA, MODEL, RECIPE

from sweeper import data
from sweeper.config import Recipe, Runtime, TrialSpec
from sweeper.errors import LostWorkerError, PreemptedError
from sweeper.storage import Store
from sweeper.training import TrainingProgress, TrialJob, TrialRecord, preemption, train_trial


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> data.PreparedData:
    return data.prepare_data(DATA, MODEL, tmp_path_factory.mktemp("store"))


def train(prepared: data.PreparedData, root: Path, tell: Any = lambda progress: None, **recipe: Any) -> TrialRecord:
    spec = TrialSpec(
        model=MODEL,
        data=DATA,
        recipe=Recipe.model_validate(RECIPE.model_dump() | recipe),
        seed=3,
        runtime=Runtime(),
    )
    return train_trial(TrialJob(spec, "f", prepared.fingerprint), lambda: prepared, Store(root), tell)


def history(root: Path) -> pd.DataFrame:
    return pd.read_parquet(Store(root).trial_folder("f") / "history.parquet")


@pytest.fixture(scope="module")
def whole(prepared: data.PreparedData, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialRecord, pd.DataFrame]:
    root = tmp_path_factory.mktemp("whole")
    return train(prepared, root), history(root)


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_of_that_very_step(
    prepared: data.PreparedData, whole: tuple[TrialRecord, pd.DataFrame], tmp_path: Path
) -> None:
    def go(progress: TrainingProgress) -> None:
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError, match="checkpoint of step"):
        train(prepared, tmp_path, go)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not Store(tmp_path).record_path("f").exists()
    resumed = train(prepared, tmp_path)
    assert resumed.resumed_from_step == 8, "told at the end of step 7, saved at the end of the next"
    pd.testing.assert_frame_equal(history(tmp_path), whole[1])
    assert resumed.applied == whole[0].applied
    assert {k: v for k, v in resumed.metrics.items() if k != "train_seconds"} == {
        k: v for k, v in whole[0].metrics.items() if k != "train_seconds"
    }


def train_long(mark: Path, root: Path) -> None:
    preemption._TRAINING_MARKER = mark
    with contextlib.suppress(PreemptedError):
        train(data.prepare_data(DATA, MODEL, root), root, num_train_epochs=400)


@pytest.mark.slow
def test_before_a_machine_goes_its_trials_save_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "_MARK", tmp_path / "mark")  # other tests train beside this one
    assert preemption.drain(0) == (0, 0)
    process = multiprocessing.get_context("spawn").Process(target=train_long, args=(tmp_path / "mark", tmp_path))
    process.start()
    folder, until = Store(tmp_path).trial_folder("f") / "checkpoints", time.monotonic() + 120
    while not list(folder.glob("*/sweeper-complete")):
        assert process.is_alive() and time.monotonic() < until
        time.sleep(0.1)
    assert preemption.drain(60) == (1, 0)
    process.join(timeout=60)
    assert process.exitcode == 0
    steps = [int(mark.parent.name.split("-")[1]) for mark in folder.glob("*/sweeper-complete")]
    assert max(steps) % 320 and max(steps) < 1600, "saved where it was told, not at a fifth of the run"
    assert not Store(tmp_path).record_path("f").exists()


@pytest.mark.slow
def test_losses_between_two_logged_steps_outlive_an_interruption(prepared: data.PreparedData, tmp_path: Path) -> None:
    longer = {"num_train_epochs": 10}  # logged every fourth step
    told: list[float] = []

    def go(progress: TrainingProgress) -> None:
        told.append(progress.step)
        if progress.step == 28:
            os.kill(os.getpid(), signal.SIGTERM)

    train(prepared, tmp_path / "whole", **longer)
    with pytest.raises(PreemptedError):
        train(prepared, tmp_path / "cut", go, **longer)
    resumed = train(prepared, tmp_path / "cut", **longer)
    assert 27 not in told
    assert resumed.resumed_from_step == 29
    pd.testing.assert_frame_equal(history(tmp_path / "cut"), history(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a flipped bit", "a missing file", "a mark of another trial", "no mark"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    damage: str, prepared: data.PreparedData, whole: tuple[TrialRecord, pd.DataFrame], tmp_path: Path
) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared, tmp_path, interrupt)
    folder = Store(tmp_path).trial_folder("f") / "checkpoints"
    before, newest = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    weights, mark = newest / "model.safetensors", newest / "sweeper-complete"
    if damage == "a flipped bit":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "a missing file":
        (newest / "optimizer.pt").unlink()
    elif damage == "no mark":
        mark.unlink()
    else:
        mark.write_text(json.dumps(json.loads(mark.read_text()) | {"fingerprint": "another"}))
    resumed = train(prepared, tmp_path)
    assert resumed.resumed_from_step == int(before.name.split("-")[1])
    pd.testing.assert_frame_equal(history(tmp_path), whole[1])


@pytest.mark.slow
def test_what_another_engine_saved_is_refused_and_kept(prepared: data.PreparedData, tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared, tmp_path, interrupt)
    marks = sorted((Store(tmp_path).trial_folder("f") / "checkpoints").glob("checkpoint-*/sweeper-complete"))
    whole = {mark: mark.read_text() for mark in marks}
    for mark, text in whole.items():
        mark.write_text(json.dumps(json.loads(text) | {"engine": "zero2", "workers": 4}))
    refused = train(prepared, tmp_path)
    assert refused.status == "FAILED"
    assert refused.failure is not None
    assert refused.failure.kind == "bad-input"
    assert "was written by engine zero2, 4 workers" in refused.failure.message
    assert "engine single, 1 workers" in refused.failure.message
    for mark, text in whole.items():
        mark.write_text(text)
    assert train(prepared, tmp_path).resumed_from_step is not None


@pytest.mark.slow
def test_a_gpu_that_breaks_is_a_lost_worker_and_no_end_of_the_trial(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.training.sft_trainer import LeanSFTTrainer

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    with monkeypatch.context() as patch:
        patch.setattr(LeanSFTTrainer, "training_step", broken)
        with pytest.raises(LostWorkerError, match="ECC"):
            train(prepared, tmp_path)
    assert not Store(tmp_path).record_path("f").exists()
    assert train(prepared, tmp_path).status == "COMPLETE"


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
    record = train(prepared, tmp_path, num_train_epochs=1)
    assert record.status == "COMPLETE", record.failure
    assert record.environment["out_of_memory_at"] == [8, 4]
    assert record.environment["micro_batch"] == 2
    assert record.applied["effective_batch_size"] == record.asked["effective_batch_size"] == 8
    assert record.metrics["steps"] == 8


@pytest.mark.slow
def test_out_of_memory_at_one_example_is_the_end(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.training.sft_trainer import LeanSFTTrainer

    def never(*arguments: Any, **more: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("the allocator has no more")

    monkeypatch.setattr(LeanSFTTrainer, "training_step", never)
    record = train(prepared, tmp_path)
    assert record.status == "FAILED"
    assert record.failure is not None
    assert record.failure.kind == "out-of-memory"
