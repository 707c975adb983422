"""A backend is a file of execution/backends; another name is an error before anything is written."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sweeper.config import find_sweep, load_sweep
from sweeper.errors import UsageError
from sweeper.execution.backends.base import BACKENDS
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.study_runner import run_study
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store


def test_backends_are_listed_without_importing_them() -> None:
    assert BACKENDS.names == ("inline", "ray")


def test_run_study_rejects_an_unknown_backend_before_it_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = plan_sweep(load_sweep(find_sweep("quickstart"), ["claims=[]"]))
    display = ProgressDisplay(Console(file=io.StringIO()))
    with pytest.raises(UsageError, match="inline, ray"):
        run_study(plan, store, backend="slurm", address=None, tracking="none", display=display)
    assert not (tmp_path / "store").exists()
