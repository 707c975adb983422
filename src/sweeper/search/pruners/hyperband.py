"""Hyperband (Li et al. 2018): successive halving in brackets that begin at different rungs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.config import Rungs
from sweeper.search.pruners.base import require_rungs

if TYPE_CHECKING:
    from optuna.pruners import HyperbandPruner

TRAITS = {"rung_spacing": "geometric"}
BRACKET_RUNGS = 3
"""Brackets begin at the first rung and at each of this many after it."""


def make_pruner(rungs: Rungs | None) -> HyperbandPruner:
    """Make a Hyperband pruner. Its `max_resource` is given: "auto" would wait for the first complete trial."""
    from optuna.pruners import HyperbandPruner

    rungs = require_rungs(rungs)
    return HyperbandPruner(
        min_resource=rungs.first,
        max_resource=rungs.first * rungs.reduction_factor**BRACKET_RUNGS,
        reduction_factor=rungs.reduction_factor,
    )
