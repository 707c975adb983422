"""Step counts of a training run, against hand arithmetic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tiny_trial import (
    CHANGED,
    DATA,
    EIGHT_STEPS,
    MODEL,
    RECIPE,
    make_changing_spec,
    make_test_schedule,
    make_wsd_recipe,
    make_wsd_spec,
    train_spec,
    train_tiny,
)

from sweeper import data
from sweeper.config import Branch, EngineSpec, ModelSpec, Recipe, Rungs, Runtime, TrialSpec
from sweeper.errors import UsageError
from sweeper.storage import Store
from sweeper.training import Pruner
from sweeper.training.schedule import (
    RATE_SHAPES,
    check_schedule,
    check_warmup,
    choose_logging_steps,
    compute_decay_start,
    compute_rate_share,
    compute_row_flops,
    count_decay_steps,
    count_examples_seen,
    count_optimizer_steps,
    make_schedule,
)

SIZE = data.DataSize(rows=100, tokens=5000.0, vocab_size=320)
"""With an effective batch of 8, an epoch has 12 full batches and one of 4 rows: 13 steps."""


def make_plain_spec(branch: Branch | None = None, **fields: Any) -> TrialSpec:
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"num_train_epochs": 2.0} | fields)
    return TrialSpec(model=MODEL, data=DATA, recipe=recipe, seed=0, runtime=Runtime(), branch=branch)


def test_make_schedule_by_epochs_counts_the_last_smaller_batch() -> None:
    schedule = make_schedule(make_plain_spec(), SIZE)
    assert schedule.effective_batch_size == 8
    assert (schedule.steps_per_epoch, schedule.total_steps, schedule.examples_seen) == (13, 26, 200)
    assert schedule.ends_with_epoch
    assert (schedule.start_step, schedule.decay_steps) == (0, None)
    assert (schedule.logging_steps, schedule.save_steps) == (1, 6), "26 / 20 rounded down; 26 / 5 rounded up"
    assert [schedule.count_examples_seen(steps) for steps in (0, 1, 12, 13, 14)] == [0, 8, 96, 100, 108]


def test_make_schedule_by_max_steps_ends_within_an_epoch() -> None:
    schedule = make_schedule(make_plain_spec(max_steps=20), SIZE)
    assert (schedule.total_steps, schedule.examples_seen, schedule.ends_with_epoch) == (20, 100 + 7 * 8, False)


def test_make_schedule_by_compute_takes_the_steps_that_the_budget_pays_for() -> None:
    per_row = compute_row_flops(MODEL, RECIPE, SIZE).per_row
    schedule = make_schedule(make_plain_spec(train_flops_budget=(100 + 10 * 8) * per_row), SIZE)
    assert schedule.total_steps == 13 + 10
    assert schedule.train_flops == pytest.approx(180 * per_row)


def test_compute_row_flops_is_per_token_times_the_mean_length() -> None:
    flops = compute_row_flops(MODEL, RECIPE, SIZE)
    assert flops.mean_length == 50
    assert flops.per_row == flops.per_token * 50


def test_make_schedule_of_a_branch_begins_at_its_decay_or_its_named_step() -> None:
    by_decay = make_schedule(make_wsd_spec(2, trunk="t", decay_fraction=0.5), SIZE)
    assert (by_decay.start_step, by_decay.decay_steps, by_decay.save_steps) == (13, 13, 3)
    assert by_decay.shared_train_flops == pytest.approx(by_decay.train_flops / 2)
    by_step = make_schedule(make_plain_spec(Branch(trunk="t", step=4)), SIZE)
    assert (by_step.start_step, by_step.total_steps, by_step.save_steps) == (4, 26, 5)


def test_make_schedule_of_a_trunk_keeps_a_checkpoint_where_each_arm_decays() -> None:
    schedule = make_schedule(make_wsd_spec(4, points=(1, 2), decay_fraction=0.2), SIZE)
    assert schedule.branch_steps == {13 - 3, 26 - 5}, "a fifth of 13 and of 26 steps, rounded"


def test_make_schedule_keeps_checkpoints_at_rungs_for_a_population_only() -> None:
    def schedule_with(scheduler: str) -> tuple[dict[int, int], frozenset[int]]:
        pruner = Pruner(Rungs(first=6, reduction_factor=2), scheduler, lambda resource, loss: False)
        schedule = make_schedule(make_plain_spec(), SIZE, pruner)
        return dict(schedule.rung_resources), schedule.branch_steps

    assert schedule_with("asha") == ({6: 6, 12: 12, 24: 24}, frozenset())
    assert schedule_with("pbt") == ({6: 6, 12: 12, 18: 18, 24: 24}, {6, 12, 18, 24})


def test_check_schedule_refuses_a_warm_up_as_long_as_the_run() -> None:
    spec = make_plain_spec(max_steps=3)
    with pytest.raises(UsageError, match="3 optimizer steps"):
        check_schedule(spec, make_schedule(spec, SIZE))
    spec = make_plain_spec(max_steps=4)
    check_schedule(spec, make_schedule(spec, SIZE))


def test_check_warmup_needs_no_data() -> None:
    check_warmup(make_plain_spec(max_steps=4), 4)
    with pytest.raises(UsageError, match=r"a run of 3 optimizer steps \(effective batch") as failure:
        check_warmup(make_plain_spec(max_steps=3), 3)
    assert "max_steps" in failure.value.hint


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
    unknown = compute_row_flops(ModelSpec(name="x", config={"model_type": "gpt2"}), RECIPE, size)
    assert math.isnan(unknown.per_row)
    assert unknown.mean_length == 10


@pytest.mark.slow
def test_warm_up_longer_than_the_run_is_refused(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train_tiny(prepared, tmp_path, warmup_steps=1000)
    assert record.status == "FAILED"
    assert record.failure is not None
    assert "16 optimizer steps" in record.failure.message


@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize("shape", RATE_SHAPES)
def test_compute_rate_share_is_what_transformers_sets(shape: str, warmup: int) -> None:
    if shape == "constant":
        warmup = 0  # with a warm-up, no recipe can have it
    import torch
    from transformers import get_scheduler

    from sweeper.training.sft_config import _make_decay_kwargs

    decays = {"decay_fraction": 0.25} if shape == "warmup_stable_decay" else {}
    recipe = RECIPE.model_copy(update={"lr_scheduler_type": shape, "warmup_steps": warmup, **decays})
    schedule = make_test_schedule(recipe, 12)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3)
    scheduler = get_scheduler(
        shape,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=12,
        scheduler_specific_kwargs=_make_decay_kwargs(schedule),
    )
    shares = []
    for _ in range(12):
        shares.append(optimizer.param_groups[0]["lr"] / 0.3)
        optimizer.step()
        scheduler.step()
    assert [compute_rate_share(shape, step, schedule) for step in range(12)] == pytest.approx(shares)
