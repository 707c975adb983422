"""Which checkpoints a trial keeps while it trains, and afterwards."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sweeper.training.retention import (
    CHECKPOINTS_WHILE_TRAINING,
    CheckpointPolicy,
    checkpoints_to_delete,
    find_lowest_loss_step,
    may_delete_model,
)

NAN = math.nan


POLICIES: tuple[CheckpointPolicy, ...] = ("last", "best", "none-after-evaluation")


CHECKPOINTS = [(10, 0.9), (20, 0.5), (30, 0.7), (40, NAN)]


def test_checkpoints_to_delete_keeps_the_last_two_while_training() -> None:
    assert checkpoints_to_delete(CHECKPOINTS, "last", is_finished=False) == [10, 20]
    assert checkpoints_to_delete(CHECKPOINTS, "none-after-evaluation", is_finished=False) == [10, 20]
    assert checkpoints_to_delete(CHECKPOINTS, "best", is_finished=False) == [10]
    assert checkpoints_to_delete(CHECKPOINTS[:1], "last", is_finished=False) == []


def test_checkpoints_to_delete_keeps_only_the_best_after_training() -> None:
    assert checkpoints_to_delete(CHECKPOINTS, "last", is_finished=True) == [10, 20, 30, 40]
    assert checkpoints_to_delete(CHECKPOINTS, "best", is_finished=True) == [10, 30, 40]
    assert checkpoints_to_delete([(10, NAN)], "best", is_finished=True) == [10], "nothing was measured, so none is best"


def test_may_delete_model_only_after_an_evaluation_and_by_policy() -> None:
    assert may_delete_model("none-after-evaluation", is_finished=True, is_evaluated=True)
    assert not may_delete_model("none-after-evaluation", is_finished=True, is_evaluated=False)
    assert not may_delete_model("none-after-evaluation", is_finished=False, is_evaluated=True)
    assert not any(may_delete_model(policy, is_finished=True, is_evaluated=True) for policy in ("last", "best"))


@given(
    st.dictionaries(st.integers(1, 1000), st.floats(allow_infinity=False), max_size=12),
    st.sampled_from(POLICIES),
    st.booleans(),
)
def test_checkpoints_to_delete_keeps_all_that_may_be_needed(
    known: dict[int, float], policy: CheckpointPolicy, finished: bool
) -> None:
    deleted = checkpoints_to_delete(known.items(), policy, is_finished=finished)
    assert set(deleted) <= known.keys()
    kept = sorted(known.keys() - set(deleted))
    if not finished:
        assert kept[-CHECKPOINTS_WHILE_TRAINING:] == sorted(known)[-CHECKPOINTS_WHILE_TRAINING:]
    best = find_lowest_loss_step(known.items())
    if policy == "best" and best is not None:
        assert best in kept
        assert all(known[best] <= loss for loss in known.values() if not math.isnan(loss))
    # A second call deletes nothing more.
    assert checkpoints_to_delete([(step, known[step]) for step in kept], policy, is_finished=finished) == []
