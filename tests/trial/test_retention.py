"""What stays of a trial: the last two while it trains, then what its policy says."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sweeper.trial.retention import WHILE_TRAINING, CheckpointPolicy, best_of, model_can_go, to_remove

NAN = math.nan
POLICIES: tuple[CheckpointPolicy, ...] = ("last", "best", "none-after-evaluation")
CHECKPOINTS = [(10, 0.9), (20, 0.5), (30, 0.7), (40, NAN)]


def test_while_training_the_last_two_stay() -> None:
    assert to_remove(CHECKPOINTS, "last", finished=False) == [10, 20]
    assert to_remove(CHECKPOINTS, "none-after-evaluation", finished=False) == [10, 20]
    assert to_remove(CHECKPOINTS, "best", finished=False) == [10]
    assert to_remove(CHECKPOINTS[:1], "last", finished=False) == []


def test_after_training_the_model_has_taken_their_place() -> None:
    assert to_remove(CHECKPOINTS, "last", finished=True) == [10, 20, 30, 40]
    assert to_remove(CHECKPOINTS, "best", finished=True) == [10, 30, 40]
    assert to_remove([(10, NAN)], "best", finished=True) == [10], "nothing was measured: none is best"


def test_the_model_goes_only_after_an_evaluation_and_only_when_asked() -> None:
    assert model_can_go("none-after-evaluation", finished=True, evaluated=True)
    assert not model_can_go("none-after-evaluation", finished=True, evaluated=False)
    assert not model_can_go("none-after-evaluation", finished=False, evaluated=True)
    assert not any(model_can_go(policy, finished=True, evaluated=True) for policy in ("last", "best"))


@given(
    st.dictionaries(st.integers(1, 1000), st.floats(allow_infinity=False), max_size=12),
    st.sampled_from(POLICIES),
    st.booleans(),
)
def test_nothing_that_may_be_needed_goes(known: dict[int, float], policy: CheckpointPolicy, finished: bool) -> None:
    gone = to_remove(known.items(), policy, finished=finished)
    assert set(gone) <= known.keys()
    kept = sorted(known.keys() - set(gone))
    if not finished:
        assert kept[-WHILE_TRAINING:] == sorted(known)[-WHILE_TRAINING:]
    best = best_of(known.items())
    if policy == "best" and best is not None:
        assert best in kept
        assert all(known[best] <= loss for loss in known.values() if not math.isnan(loss))
    # Asked again, nothing more goes.
    assert to_remove([(step, known[step]) for step in kept], policy, finished=finished) == []
