"""The optimizer steps of a search's rungs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config import Rungs
from sweeper.training.pruning import compute_rung_steps


def compute_rungs(
    rungs: Rungs, scheduler: str = "asha", steps: int = 100, tokens: float = 6400.0, per_epoch: int = 25
) -> dict:
    return compute_rung_steps(rungs, scheduler, steps, tokens=tokens, steps_per_epoch=per_epoch)  # type: ignore[arg-type]


def test_rungs_grow_by_the_reduction_factor_or_are_evenly_spaced() -> None:
    assert compute_rungs(Rungs(first=5, reduction_factor=3)) == {5: 5, 15: 15, 45: 45}
    assert compute_rungs(Rungs(first=30), "median") == compute_rungs(Rungs(first=30), "pbt") == {30: 30, 60: 60, 90: 90}
    assert compute_rungs(Rungs(first=5, reduction_factor=2), "hyperband", steps=20) == {5: 5, 10: 10}


def test_rungs_in_tokens_compare_trials_after_equal_tokens() -> None:
    rungs = Rungs(unit="tokens", first=1000, reduction_factor=2)
    assert compute_rungs(rungs) == {16: 1000, 32: 2000, 63: 4000}  # 64 tokens a step
    assert compute_rungs(rungs, steps=50) == {8: 1000, 16: 2000, 32: 4000}  # 128 tokens a step


def test_rungs_in_epochs() -> None:
    assert compute_rungs(Rungs(unit="epochs", first=1, reduction_factor=2)) == {25: 1, 50: 2}


def test_run_that_ends_before_the_first_rung_has_no_rungs() -> None:
    assert compute_rungs(Rungs(first=100)) == {}
    assert compute_rungs(Rungs(first=1000)) == {}


@given(
    first=st.integers(1, 50),
    factor=st.integers(2, 5),
    steps=st.integers(1, 2000),
    tokens=st.floats(1, 1e6),
    unit=st.sampled_from(["steps", "tokens"]),
)
def test_rung_resources_rise_with_steps_and_end_before_the_run(
    first: int, factor: int, steps: int, tokens: float, unit: str
) -> None:
    rungs = compute_rungs(Rungs(unit=unit, first=first, reduction_factor=factor), steps=steps, tokens=tokens)  # type: ignore[arg-type]
    assert sorted(rungs) == list(rungs)
    assert sorted(rungs.values()) == list(rungs.values())
    assert all(1 <= step < steps for step in rungs)


@pytest.mark.parametrize("fields", [{"first": 0}, {"first": 3, "reduction_factor": 1}, {"first": 3, "unit": "hours"}])
def test_invalid_rungs_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Rungs(**fields)
