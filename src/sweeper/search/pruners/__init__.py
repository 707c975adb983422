"""Schedulers, which stop trials early. One file each: `asha.py` is `scheduler: asha`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.config import SearchSpec
from sweeper.registry import Registry
from sweeper.search.pruners.base import PrunerFactory

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

PRUNERS: Registry[PrunerFactory] = Registry("scheduler", "search/pruners", "make_pruner")


def make_pruner(search: SearchSpec) -> BasePruner:
    """Make Optuna's pruner for a search. Its state is kept in Optuna's storage."""
    return PRUNERS.load(search.scheduler)(search.rungs)
