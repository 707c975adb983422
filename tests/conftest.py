"""Shared by all tests: where things lie, and a store of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and workers share the cores

# A script starts background jobs with SIGINT ignored, and children inherit that: no Ctrl-C test could interrupt one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("busy", deadline=None)  # a loaded machine is slow, and no test is about time
settings.load_profile("busy")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def real_toolbench() -> Path:
    """Real ToolBench material beside the checkout, where present."""
    path = ROOT.parent / "shared" / "toolbench"
    if not path.is_dir():
        pytest.skip("no real ToolBench material beside the checkout (../shared/toolbench)")
    return path
