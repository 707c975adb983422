"""The command line as a user types it, in processes of its own, and a sweep that is quick to run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from warm import ROOT, sweeper

TINY = """
name: tiny
question: Does it run?
recipe: {extends: miniature, warmup_steps: 2}
data:
  extends: toolworld
  toolworld: {train_queries: 160, validation_queries: 8, test_queries_per_subset: 2}
evaluation: toolworld
axes:
  model: [opt-tiny-32, opt-tiny-64]
  num_train_epochs: [1, 2]
  seed: [0]
claims: [single-epoch]
accept_underpowered: true
"""


def document(*arguments: str) -> Any:
    return json.loads(sweeper(*arguments, "--json").stdout)


def broken_off(sweep: Path, store: Path, backend: str) -> None:
    """Interrupt a run while it trains: it says how to resume, and leaves a checkpoint."""
    command = [sys.executable, "-m", "sweeper", "run", str(sweep), "--storage", str(store), "--backend", backend]
    command += ["--set", "axes.num_train_epochs=[1,40]", "--tracking", "none"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, **pipes)
    deadline = time.monotonic() + 200
    while not list(store.glob("trials/*/checkpoints/*/sweeper-complete")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "resume" in errors
    assert list(store.glob("trials/*/checkpoints/*/sweeper-complete"))
