"""Studies that train within seconds, run in this process."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from sweeper.config import Sweep, find_sweep, load_sweep
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.study_runner import run_study
from sweeper.planning.plan import Plan
from sweeper.storage import Store

SMALL = [
    "claims=[]",
    "axes.model=[opt-tiny-32]",
    "axes.num_train_epochs=[1]",
    "recipe.warmup_steps=2",
    "data.toolworld={train_queries: 40, validation_queries: 6, test_queries_per_subset: 1}",
]
"""Overrides that make `quickstart` small: 40 training examples, 6 test queries, one model, one epoch, three seeds."""


def load_small_sweep(*overrides: str, path: Path | None = None) -> Sweep:
    """Load a small version of `quickstart`, or of a copy of it."""
    return load_sweep(path or find_sweep("quickstart"), [*SMALL, *overrides])


def run_inline(plan: Plan, store: Store) -> str:
    """Run a plan in this process; return what the display printed."""
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200)) as display:
        run_study(plan, store, backend="inline", address=None, tracking="none", display=display)
    return text.getvalue()
