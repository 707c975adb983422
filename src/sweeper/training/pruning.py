"""The rungs at which a search compares a trial with others, and the rule that stops it there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sweeper.config import Rungs, read_scheduler_traits

PruningRule = Callable[[int, float], bool]
"""(resource spent, in the rungs' unit; validation loss there) -> whether to stop. Deterministic."""


@dataclass(frozen=True)
class Pruner:
    """The search that may stop a trial early. Picklable where `should_prune` is."""

    rungs: Rungs
    """Where the trial is compared with others."""
    scheduler: str
    """The scheduler of the search."""
    should_prune: PruningRule
    """Decides at each rung."""
    is_stopped: bool = False
    """Whether this search has already stopped the trial. Its PRUNED record is then final."""


def compute_rung_steps(
    rungs: Rungs, scheduler: str, steps: int, *, tokens: float, steps_per_epoch: int
) -> dict[int, int]:
    """Return the optimizer step and the resource of every rung before the end of a run.

    Rungs lie at first x reduction_factor^k (Li et al. 2020, ASHA, algorithm 2); for the median rule and populations at
    multiples of `first`. A rung's step is the first by which its resource was spent, so that trials of different batch
    size or length are compared after the same number of tokens.

    Args:
        rungs: unit, first rung and reduction factor.
        scheduler: the scheduler of the search.
        steps: optimizer steps of the whole run.
        tokens: tokens trained on in the whole run.
        steps_per_epoch: optimizer steps of one epoch.

    Returns:
        Optimizer step -> resource in the rungs' unit, in ascending order.
    """
    per_step = {"steps": 1.0, "tokens": tokens / steps, "epochs": 1 / steps_per_epoch}[rungs.unit]
    resources: dict[int, int] = {}
    k = 0
    while True:
        resource = _compute_rung(rungs, scheduler, k)
        step = max(1, math.ceil(resource / per_step - 1e-9))
        if step >= steps:
            return resources
        resources.setdefault(step, round(resource))
        k += 1


def _compute_rung(rungs: Rungs, scheduler: str, k: int) -> int:
    """Compute the resource of rung `k`, counted from 0."""
    match read_scheduler_traits(scheduler).rung_spacing:
        case "geometric":
            return rungs.first * int(rungs.reduction_factor**k)
        case "equal":
            return rungs.first * (k + 1)
        case None:
            raise ValueError(f"`scheduler: {scheduler}` has no rungs")
