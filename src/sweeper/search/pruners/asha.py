"""Asynchronous successive halving (Li et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.config import Rungs
from sweeper.search.pruners.base import require_rungs

if TYPE_CHECKING:
    from optuna.pruners import SuccessiveHalvingPruner

TRAITS = {"rung_spacing": "geometric"}


def make_pruner(rungs: Rungs | None) -> SuccessiveHalvingPruner:
    """Make a pruner that lets about one in `reduction_factor` trials pass each rung."""
    from optuna.pruners import SuccessiveHalvingPruner

    rungs = require_rungs(rungs)
    return SuccessiveHalvingPruner(min_resource=rungs.first, reduction_factor=rungs.reduction_factor)
