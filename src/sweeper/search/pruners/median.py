"""The median stopping rule (Golovin et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.config import Rungs

if TYPE_CHECKING:
    from optuna.pruners import MedianPruner

TRAITS = {"rung_spacing": "equal"}
STARTUP_TRIALS = 5
"""Trials that must end before any is stopped: Optuna's default, and Vizier's (Golovin et al. 2017)."""


def make_pruner(rungs: Rungs | None) -> MedianPruner:
    """Make a pruner that stops a trial whose loss is worse than the median of the others at the same rung."""
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=0)
