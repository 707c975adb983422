"""The effective batch split over workers."""

from __future__ import annotations

import pytest
from tiny_trial import RECIPE

from sweeper.errors import UsageError
from sweeper.training.batching import split_batch


def test_split_batch_never_changes_the_effective_batch() -> None:
    recipe = RECIPE.model_copy(update={"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3})
    for workers, max_micro_batch, expected in [
        (1, None, (8, 3)),
        (2, None, (6, 2)),
        (3, None, (8, 1)),
        (4, None, (6, 1)),
        (1, 4, (4, 6)),
        (2, 4, (4, 3)),
        (24, None, (1, 1)),
    ]:
        split = split_batch(recipe, workers, max_micro_batch)
        assert (split.micro_batch, split.accumulation_steps) == expected
        assert split.micro_batch * split.accumulation_steps * workers == recipe.effective_batch_size
    with pytest.raises(UsageError, match="5 workers"):
        split_batch(recipe, 5)
