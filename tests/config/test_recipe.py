"""Recipes that contradict themselves are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tiny_trial import RECIPE, make_changing_spec, make_wsd_recipe

from sweeper.config import Recipe


def test_decay_fraction_requires_the_decaying_schedule() -> None:
    with pytest.raises(ValidationError, match="go together"):
        make_wsd_recipe(1)
    with pytest.raises(ValidationError, match="go together"):
        Recipe.model_validate(RECIPE.model_dump() | {"decay_fraction": 0.2})


def test_constant_schedule_takes_no_warm_up() -> None:
    fields = RECIPE.model_dump() | {"lr_scheduler_type": "constant"}
    with pytest.raises(ValidationError, match="give `constant_with_warmup`, or `warmup_steps: 0`"):
        Recipe.model_validate(fields | {"warmup_steps": 10})
    assert Recipe.model_validate(fields | {"warmup_steps": 0}).warmup_steps == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"step": 5}], "has no values"),
        ([{"step": 5, "warmup_steps": 3}], "Extra inputs"),
        ([{"step": 0, "learning_rate": 1}], "greater than 0"),
        ([{"step": 5, "learning_rate": 0}], "greater than 0"),
        ([{"step": 5, "learning_rate": 1}, {"step": 5, "weight_decay": 1}], "above the one before"),
    ],
)
def test_invalid_changes_are_refused(changes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_changing_spec(changes)
