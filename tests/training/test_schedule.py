"""Step counts of a training run, against hand arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny_trial import (
    CHANGED,
    EIGHT_STEPS,
    RECIPE,
    make_changing_spec,
    make_wsd_recipe,
    make_wsd_spec,
    train_spec,
    train_tiny,
)

from sweeper import data
from sweeper.config import EngineSpec, ModelSpec
from sweeper.errors import UsageError
from sweeper.storage import Store
from sweeper.training.schedule import (
    choose_logging_steps,
    compute_decay_start,
    compute_row_flops,
    count_decay_steps,
    count_examples_seen,
    count_optimizer_steps,
)


@pytest.mark.slow
def test_warm_up_that_overlaps_the_decay_is_refused(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train_spec(prepared, Store(tmp_path), "f", make_wsd_spec(1, warmup_steps=7, **EIGHT_STEPS))
    assert record.failure is not None
    assert record.failure.kind == "bad-input"
    assert "whose decay begins after 6" in record.failure.message


def test_compute_decay_start() -> None:
    recipe = make_wsd_recipe(1, decay_fraction=0.2, warmup_steps=3)
    assert [count_decay_steps(recipe, steps) for steps in (4, 5, 100)] == [1, 1, 20]
    assert count_decay_steps(RECIPE, 100) is None
    assert [compute_decay_start(recipe, steps) for steps in (4, 5, 100)] == [3, 4, 80]
    with pytest.raises(UsageError, match="decay begins after 2"):
        compute_decay_start(recipe, 3)
    starts = [compute_decay_start(recipe, steps) for steps in range(4, 400)]
    assert starts == sorted(starts), "a longer run never decays earlier: it passes by every shorter one's point"


def test_choose_logging_steps_is_equal_for_any_whole_number_of_epochs() -> None:
    assert {choose_logging_steps(make_wsd_recipe(epochs, **EIGHT_STEPS), epochs * 100) for epochs in (1, 2, 3, 5)} == {
        5
    }
    assert choose_logging_steps(RECIPE, 200) == 10, "another schedule: by the run's own length, as before"


def test_change_after_the_end_or_with_several_workers_is_refused(prepared: data.PreparedData, tmp_path: Path) -> None:
    from sweeper.errors import UsageError
    from sweeper.training.schedule import check_hyperparameter_changes

    with pytest.raises(UsageError, match="a run of 10 optimizer steps"):
        check_hyperparameter_changes(make_changing_spec(CHANGED), 10)
    shared = make_changing_spec(CHANGED).model_copy(update={"engine": EngineSpec(name="ddp", distributed=True)})
    with pytest.raises(UsageError, match="several workers"):
        check_hyperparameter_changes(shared, 16)


@pytest.mark.slow
def test_compute_budget_that_cannot_be_met_is_refused(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train_tiny(prepared, tmp_path, train_flops_budget=1e8)
    assert record.failure is not None
    assert record.failure.kind == "bad-input"
    assert "train_flops_budget" in record.failure.message
    recipe = RECIPE.model_copy(update={"train_flops_budget": 1e9})
    with pytest.raises(UsageError, match="unknown FLOPs"):
        count_optimizer_steps(recipe, 60)


@pytest.mark.parametrize("rows", [180.0, 237.0, 239.0, 241.0, 1000.4])
def test_count_optimizer_steps_comes_nearest_to_the_budget(rows: float) -> None:
    recipe = RECIPE.model_copy(update={"train_flops_budget": rows * 7.0})
    steps = count_optimizer_steps(recipe, 60, 7.0)
    off = [abs(count_examples_seen(recipe, 60, count) - rows) for count in (steps - 1, steps, steps + 1)]
    assert off[1] == min(off)


def test_compute_row_flops_is_nan_for_an_unknown_architecture() -> None:
    size = data.DataSize(rows=10, tokens=100, vocab_size=5)
    unknown = compute_row_flops(ModelSpec(name="x", config={"model_type": "gpt2"}), size)
    assert math.isnan(unknown.per_row)
    assert unknown.mean_length == 10


@pytest.mark.slow
def test_warm_up_longer_than_the_run_is_refused(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train_tiny(prepared, tmp_path, warmup_steps=1000)
    assert record.status == "FAILED"
    assert record.failure is not None
    assert "16 optimizer steps" in record.failure.message
