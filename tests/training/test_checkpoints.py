"""Checkpoints are checked before a trial resumes from them."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_trial import read_history, train_tiny

from sweeper import data
from sweeper.errors import PreemptedError
from sweeper.storage import Store, read_json, write_json
from sweeper.training import TrainingProgress, TrialRecord


@pytest.mark.slow
def test_resumed_trial_keeps_the_losses_since_the_last_logged_step(prepared: data.PreparedData, tmp_path: Path) -> None:
    longer = {"num_train_epochs": 10}  # logged every fourth step
    reported_steps: list[float] = []

    def send_sigterm(progress: TrainingProgress) -> None:
        reported_steps.append(progress.step)
        if progress.step == 28:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = train_tiny(prepared, tmp_path / "whole", **longer)
    with pytest.raises(PreemptedError):
        train_tiny(prepared, tmp_path / "cut", send_sigterm, **longer)
    resumed = train_tiny(prepared, tmp_path / "cut", **longer)
    assert 27 not in reported_steps
    assert resumed.resumed_from_step == 29
    assert (resumed.asked, resumed.applied) == (whole.asked, whole.applied), "what the earlier steps used is kept"
    pd.testing.assert_frame_equal(read_history(tmp_path / "cut"), read_history(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a flipped bit", "a missing file", "a mark of another trial", "no mark"])
def test_damaged_checkpoint_is_skipped_for_the_one_before(
    damage: str, prepared: data.PreparedData, uninterrupted_run: tuple[TrialRecord, pd.DataFrame], tmp_path: Path
) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(prepared, tmp_path, interrupt)
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
    resumed = train_tiny(prepared, tmp_path)
    assert resumed.resumed_from_step == int(before.name.split("-")[1])
    pd.testing.assert_frame_equal(read_history(tmp_path), uninterrupted_run[1])


@pytest.mark.slow
def test_checkpoint_of_another_engine_is_refused_and_kept(prepared: data.PreparedData, tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(prepared, tmp_path, interrupt)
    marks = sorted((Store(tmp_path).trial_folder("f") / "checkpoints").glob("checkpoint-*/sweeper-complete"))
    manifests = {mark: read_json(mark) for mark in marks}
    for mark, manifest in manifests.items():
        write_json(mark, manifest | {"engine": "zero2", "workers": 4})
    refused = train_tiny(prepared, tmp_path)
    assert refused.status == "FAILED"
    assert refused.failure is not None
    assert refused.failure.kind == "bad-input"
    assert "was written by engine zero2, 4 workers" in refused.failure.message
    assert "engine single, 1 workers" in refused.failure.message
    for mark, manifest in manifests.items():  # an earlier version did not read every step
        write_json(mark, {key: value for key, value in manifest.items() if key != "steps_taken"})
    refused = train_tiny(prepared, tmp_path)
    assert refused.failure is not None
    assert "readings of 0 steps: an earlier version wrote it" in refused.failure.message
    for mark, manifest in manifests.items():
        write_json(mark, manifest)
    assert train_tiny(prepared, tmp_path).resumed_from_step is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({"train_sampling_strategy": "random"}, id="random"),
        pytest.param({"train_sampling_strategy": "group_by_length"}, id="group_by_length"),
        pytest.param({"max_steps": 13}, id="max_steps"),
        pytest.param({"train_flops_budget": 2.3e9}, id="train_flops_budget"),
    ],
)
def test_interrupted_trial_resumes_to_the_same_end(
    prepared: data.PreparedData, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    run = partial(train_tiny, **recipe)
    whole = run(prepared, tmp_path / "whole")
    assert whole.status == "COMPLETE", whole.failure
    assert whole.applied["train_sampling_strategy"] == recipe.get("train_sampling_strategy", "random")

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(prepared, tmp_path / "cut", interrupt)
    directory = Store(tmp_path / "cut").trial_folder("f")
    assert not (directory / "record.json").exists()
    newest = max((directory / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    broken = directory / "checkpoints" / "checkpoint-999"
    broken.mkdir()  # what a kill in the middle of writing leaves
    resumed = run(prepared, tmp_path / "cut")
    assert resumed.status == "COMPLETE", resumed.failure
    assert resumed.resumed_from_step == int(newest.name.split("-")[1]) > 0
    for metric in ("val_loss", "tokens", "train_flops", "steps"):
        assert resumed.metrics[metric] == whole.metrics[metric]
    assert resumed.applied == whole.applied
    pd.testing.assert_frame_equal(read_history(tmp_path / "cut"), read_history(tmp_path / "whole"))


@pytest.mark.slow
def test_trial_killed_after_its_last_step_resumes_to_the_same_end(prepared: data.PreparedData, tmp_path: Path) -> None:
    whole = train_tiny(prepared, tmp_path / "whole", max_steps=13)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.val_loss is not None and progress.step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(prepared, tmp_path / "cut", interrupt, max_steps=13)
    assert (Store(tmp_path / "cut").trial_folder("f") / "checkpoints" / "checkpoint-13").exists()
    resumed = train_tiny(prepared, tmp_path / "cut", max_steps=13)
    assert resumed.status == "COMPLETE", resumed.failure
    assert resumed.metrics["steps"] == 13
    pd.testing.assert_frame_equal(read_history(tmp_path / "cut"), read_history(tmp_path / "whole"))
    assert resumed.metrics["tokens"] == whole.metrics["tokens"]
