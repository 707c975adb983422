"""What a file of this package defines: a scheduler by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sweeper.config import Rungs

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


class PrunerFactory(Protocol):
    """`make_pruner` of each file. The constant `TRAITS` beside it describes its rungs
    (`sweeper.config.search.SchedulerTraits`)."""

    def __call__(self, rungs: Rungs | None) -> BasePruner:
        """Make Optuna's pruner.

        Args:
            rungs: the rungs of the search, in whose unit trials report; None only for `none`.
        """


def require_rungs(rungs: Rungs | None) -> Rungs:
    """Return the rungs of a scheduler that has some. A validated sweep always has them.

    Raises:
        ValueError: there are none.
    """
    if rungs is None:
        raise ValueError("a scheduler without rungs")
    return rungs
