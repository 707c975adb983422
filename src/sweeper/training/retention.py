"""Which checkpoints have served: a pure rule, so that it can be read and tested without any training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

CheckpointPolicy = Literal["last", "best", "none-after-evaluation"]
"""What stays of a trial besides its record, history and answers.

`last`: the final model. `best`: the final model, and the checkpoint of the lowest validation loss.
`none-after-evaluation`: the final model until its evaluation is finished, then nothing.
"""
CHECKPOINTS_WHILE_TRAINING = 2
"""Whole checkpoints that stay while a trial trains, under every policy: the newest, and one to fall back to."""


def checkpoints_to_delete(
    checkpoints: Iterable[tuple[int, float]], policy: CheckpointPolicy, *, is_finished: bool
) -> list[int]:
    """Steps whose checkpoints can go, in ascending order.

    `checkpoints`: (step, validation loss at or before it; NaN where none was measured), whole ones only. `finished`:
    the final model is saved and the record can be written; before that the last two always stay.
    """
    known = dict(checkpoints)
    keep = set() if is_finished else set(sorted(known)[-CHECKPOINTS_WHILE_TRAINING:])
    if policy == "best" and (best := find_lowest_loss_step(known.items())) is not None:
        keep.add(best)
    return sorted(known.keys() - keep)


def find_lowest_loss_step(checkpoints: Iterable[tuple[int, float]]) -> int | None:
    """Step of the lowest validation loss, of equal ones the first; None where none was measured."""
    measured = [(loss, step) for step, loss in checkpoints if not math.isnan(loss)]
    return min(measured)[1] if measured else None


def may_delete_model(policy: CheckpointPolicy, *, is_finished: bool, is_evaluated: bool) -> bool:
    """Whether the final model has served: its evaluation is finished (not failed), and nobody asked to keep it."""
    return policy == "none-after-evaluation" and is_finished and is_evaluated
