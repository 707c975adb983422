"""Runs as a user types them, on a Ray of their own: killed and run again, and broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT, broken_off, document, sweeper

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def test_killed_and_run_again_on_ray_ends_as_uninterrupted(tmp_path: Path, tiny: Path) -> None:
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    more = ("--set", "axes.num_train_epochs=[1,12]", "--tracking", "none")
    sweeper("run", str(tiny), "--storage", whole, "--backend", "inline", *more)
    command = [sys.executable, "-m", "sweeper.cli", "run", str(tiny), "--storage", cut, *more]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    deadline = time.monotonic() + 240
    while not list(Path(cut).glob("trials/*/checkpoints/*/sweeper-complete")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _await_release(Path(cut))
    sweeper("run", str(tiny), "--storage", cut, *more)
    rows = {
        name: document("status", "tiny", "--storage", store)["trials"] for name, store in (("a", whole), ("b", cut))
    }
    assert any(row["resumed_from_step"] for row in rows["b"]), "nothing went on from a checkpoint"
    for a, b in zip(rows["a"], rows["b"], strict=True):
        assert (a["fingerprint"], b["status"]) == (b["fingerprint"], "COMPLETE")
        for key in ("val_loss", "train_loss", "pass_rate", "steps"):
            assert a["metrics"][key] == b["metrics"][key], key


def _await_release(store: Path) -> None:
    """Ray's workers notice their dead driver within seconds; until then they may hold a trial."""
    from filelock import FileLock

    for lock in store.glob("trials/*/.lock"):
        with FileLock(lock, timeout=90):
            pass


def test_ctrl_c_leaves_a_study_to_go_on_with(tmp_path: Path, tiny: Path) -> None:
    broken_off(tiny, tmp_path / "store", "ray")
