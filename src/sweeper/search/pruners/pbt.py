"""Population based training, whose rule is in `sweeper.search.pbt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.config import Rungs

if TYPE_CHECKING:
    from optuna.pruners import NopPruner

TRAITS = {"rung_spacing": "equal"}


def make_pruner(rungs: Rungs | None) -> NopPruner:
    """Make a pruner that stops nothing: `Population.should_stop` decides."""
    from optuna.pruners import NopPruner

    return NopPruner()
