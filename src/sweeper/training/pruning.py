"""Where a trial of a search is compared with the others while it trains, and what is done with the answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sweeper.config import Rungs, read_scheduler_traits

PruningRule = Callable[[int, float], bool]
"""(resource spent, in the rungs' unit; validation loss there) -> whether to stop. The same question has one answer."""


@dataclass(frozen=True)
class Pruner:
    """Who stops a trial early. Picklable where `decide` is."""

    rungs: Rungs
    scheduler: str
    should_prune: PruningRule
    is_stopped: bool = False
    """It has been: then a PRUNED record is this trial's end, and not another search's."""


def compute_rung_steps(
    rungs: Rungs, scheduler: str, steps: int, *, tokens: float, steps_per_epoch: int
) -> dict[int, int]:
    """Optimiser step -> resource, in the rungs' unit, of every rung before the end of a run of `steps`.

    Rungs stand at first x reduction_factor^k (Li et al. 2020, ASHA, algorithm 2), for the median rule and populations
    at multiples of `first`. `tokens`: trained on in the whole run. The step is the first by which a rung's resource was
    spent, so that trials of different batch size or length are compared at the same number of tokens.
    """
    per_step = {"steps": 1.0, "tokens": tokens / steps, "epochs": 1 / steps_per_epoch}[rungs.unit]
    found: dict[int, int] = {}
    k = 0
    while True:
        resource = _compute_rung(rungs, scheduler, k)
        step = max(1, math.ceil(resource / per_step - 1e-9))
        if step >= steps:
            return found
        found.setdefault(step, round(resource))
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
