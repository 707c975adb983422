"""Which checkpoints a trial keeps: pure rules, which planning reads without importing torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

CheckpointPolicy = Literal["last", "best", "none-after-evaluation"]


@dataclass(frozen=True)
class RetentionPolicy:
    """What stays of a finished trial besides its record, history and answers."""

    keeps_best_checkpoint: bool
    """Keep the checkpoint of the lowest validation loss."""
    keeps_model: bool
    """Keep the final model after its evaluation; until then it always stays."""


RETENTION_POLICIES: Mapping[CheckpointPolicy, RetentionPolicy] = MappingProxyType(
    {
        "last": RetentionPolicy(keeps_best_checkpoint=False, keeps_model=True),
        "best": RetentionPolicy(keeps_best_checkpoint=True, keeps_model=True),
        "none-after-evaluation": RetentionPolicy(keeps_best_checkpoint=False, keeps_model=False),
    }
)
"""Value of `runtime.checkpoints` -> policy. A new policy is one entry here and one name in `config/runtime.py`."""
CHECKPOINTS_WHILE_TRAINING = 2
"""Complete checkpoints that stay while a trial trains, under every policy: the newest, and one to fall back to."""


def get_retention_policy(name: CheckpointPolicy) -> RetentionPolicy:
    """Return the policy of that name. Raises KeyError for an unknown one, which the configuration refuses earlier."""
    return RETENTION_POLICIES[name]


def checkpoints_to_delete(
    checkpoints: Iterable[tuple[int, float]], policy: CheckpointPolicy, *, is_finished: bool
) -> list[int]:
    """Return the steps whose checkpoints can go, in ascending order.

    Args:
        checkpoints: (step, validation loss at or before it; NaN where none was measured), complete ones only.
        policy: the retention policy.
        is_finished: whether the final model is saved and the record can be written; until then the last two stay.

    Example:
        >>> checkpoints_to_delete([(10, 0.9), (20, 0.5), (30, 0.7)], "best", is_finished=True)
        [10, 30]
    """
    losses = dict(checkpoints)
    keep = set() if is_finished else set(sorted(losses)[-CHECKPOINTS_WHILE_TRAINING:])
    if (
        get_retention_policy(policy).keeps_best_checkpoint
        and (best := find_lowest_loss_step(losses.items())) is not None
    ):
        keep.add(best)
    return sorted(losses.keys() - keep)


def find_lowest_loss_step(checkpoints: Iterable[tuple[int, float]]) -> int | None:
    """Return the step of the lowest validation loss, of equal ones the first; None where none was measured."""
    measured = [(loss, step) for step, loss in checkpoints if not math.isnan(loss)]
    return min(measured)[1] if measured else None


def may_delete_model(policy: CheckpointPolicy, *, is_finished: bool, is_evaluated: bool) -> bool:
    """Return whether the final model can be deleted: it was evaluated successfully, and the policy drops it."""
    return not get_retention_policy(policy).keeps_model and is_finished and is_evaluated
