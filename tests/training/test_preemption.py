"""On SIGTERM a trial saves a checkpoint, stops, and resumes to the same end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from tiny_trial import DATA, MODEL, read_history, train_tiny

from sweeper import data
from sweeper.errors import PreemptedError
from sweeper.storage import Store
from sweeper.training import TrainingProgress, TrialRecord, preemption


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_of_the_current_step(
    prepared: data.PreparedData, uninterrupted_run: tuple[TrialRecord, pd.DataFrame], tmp_path: Path
) -> None:
    def send_sigterm(progress: TrainingProgress) -> None:
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError, match="checkpoint of step"):
        train_tiny(prepared, tmp_path, send_sigterm)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not Store(tmp_path).record_path("f").exists()
    resumed = train_tiny(prepared, tmp_path)
    assert resumed.resumed_from_step == 8, "signaled at the end of step 7, saved at the end of the next"
    pd.testing.assert_frame_equal(read_history(tmp_path), uninterrupted_run[1])
    assert resumed.applied == uninterrupted_run[0].applied
    assert {k: v for k, v in resumed.metrics.items() if k != "train_seconds"} == {
        k: v for k, v in uninterrupted_run[0].metrics.items() if k != "train_seconds"
    }


def train_long(mark: Path, root: Path) -> None:
    preemption._TRAINING_MARKER = mark
    with contextlib.suppress(PreemptedError):
        train_tiny(data.prepare_data(DATA, MODEL, root), root, num_train_epochs=400)


@pytest.mark.slow
def test_drain_makes_trials_save_and_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "_TRAINING_MARKER", tmp_path / "mark")  # other tests train at the same time
    assert preemption.drain(0) == (0, 0)
    process = multiprocessing.get_context("spawn").Process(target=train_long, args=(tmp_path / "mark", tmp_path))
    process.start()
    folder, deadline = Store(tmp_path).trial_folder("f") / "checkpoints", time.monotonic() + 120
    while not list(folder.glob("*/sweeper-complete")):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.1)
    assert preemption.drain(60) == (1, 0)
    process.join(timeout=60)
    assert process.exitcode == 0
    steps = [int(mark.parent.name.split("-")[1]) for mark in folder.glob("*/sweeper-complete")]
    assert max(steps) % 320 and max(steps) < 1600, "saved on request, not at a fifth of the run"
    assert not Store(tmp_path).record_path("f").exists()
