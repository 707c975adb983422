"""A recipe that changes during a run is applied as written, whether it is trained in one go or from a checkpoint of one
that had the same steps so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from tiny_trial import DATA, MODEL, RECIPE

from sweeper import data
from sweeper.config import Branch, EngineSpec, Recipe, Rungs, Runtime, TrialSpec, compute_trial_fingerprint
from sweeper.storage import Store
from sweeper.training import Pruner, TrainingProgress, TrialJob, TrialRecord, train_trial

CHANGED = [{"step": 4, "learning_rate": 0.02, "max_grad_norm": 0.05}, {"step": 10, "weight_decay": 0.1}]
"""A run has 16 steps, 8 an epoch."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> data.PreparedData:
    return data.prepare_data(DATA, MODEL, tmp_path_factory.mktemp("store"))


def spec(changes: list[dict[str, Any]], trunk: str = "", step: int | None = None, **fields: Any) -> TrialSpec:
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"changes": changes} | fields)
    branch = Branch(trunk=trunk, step=step) if trunk else None
    return TrialSpec(model=MODEL, data=DATA, recipe=recipe, seed=3, runtime=Runtime(), branch=branch)


def train(
    prepared: data.PreparedData,
    store: Store,
    name: str,
    asked: TrialSpec,
    tell: Any = lambda progress: None,
    *,
    first: int = 0,
) -> TrialRecord:
    """`first`: a search looks at multiples of it, and stops nobody."""
    pruner = Pruner(Rungs(first=first), "pbt", lambda resource, loss: False) if first else None
    return train_trial(TrialJob(asked, name, prepared.fingerprint), lambda: prepared, store, tell, pruner=pruner)


def history(store: Store, name: str) -> pd.DataFrame:
    return pd.read_parquet(store.trial_folder(name) / "history.parquet")


def weights(store: Store, name: str) -> bytes:
    return (store.trial_folder(name) / "model" / "model.safetensors").read_bytes()


def assert_the_same(store: Store, one: str, other: str) -> None:
    pd.testing.assert_frame_equal(history(store, one), history(store, other), check_exact=True)
    assert weights(store, one) == weights(store, other)


@pytest.mark.slow
def test_what_changes_is_set_and_read_back_and_the_schedule_goes_on(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    record = train(prepared, store, "changed", spec([*CHANGED, {"step": 13, "max_grad_norm": None}]))
    assert record.status == "COMPLETE", record.failure
    assert record.asked.items() <= record.applied.items()
    asked = {key: value for key, value in record.asked.items() if "from step" in key or key in ("learning_rate",)}
    assert asked == {
        "learning_rate": 0.01,
        "learning_rate from step 4": 0.02,
        "max_grad_norm from step 4": 0.05,
        "weight_decay from step 4": RECIPE.weight_decay,
        "learning_rate from step 10": 0.02,
        "max_grad_norm from step 10": 0.05,
        "weight_decay from step 10": 0.1,
        "learning_rate from step 13": 0.02,
        "max_grad_norm from step 13": None,
        "weight_decay from step 13": 0.1,
    }
    rates = history(store, "changed").dropna(subset="loss")["learning_rate"].tolist()
    shares = [0, 1 / 3, 2 / 3, *[1 - i / 13 for i in range(13)]]  # linear after a warm-up of three steps
    assert rates == pytest.approx([share * (0.01 if i < 4 else 0.02) for i, share in enumerate(shares)])
    train(prepared, store, "plain", spec([]))
    changed, plain = (history(store, name).dropna(subset="loss")["loss"].tolist() for name in ("changed", "plain"))
    assert changed[:5] == plain[:5]
    assert changed[5] != plain[5], "the loss after the first changed step"


@pytest.mark.slow
def test_what_was_not_set_is_noticed(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.training.callbacks import HyperparameterChangeCallback

    monkeypatch.setattr(HyperparameterChangeCallback, "on_step_begin", lambda *_, **__: None)
    record = train(prepared, Store(tmp_path), "f", spec(CHANGED))
    assert record.failure is not None
    assert "learning_rate from step 4: requested 0.02, applied 0.01" in record.failure.message
    assert "max_grad_norm from step 4: requested 0.05" in record.failure.message
    assert "weight_decay from step 10: requested 0.1, applied 0.01" in record.failure.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "fields"),
    [
        pytest.param(3, {}, id="between epochs"),
        pytest.param(8, {}, id="at the end of an epoch"),
        pytest.param(2, {}, id="in the warm-up"),
        pytest.param(
            5,
            {
                "lr_scheduler_type": "cosine",
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2,
                "train_sampling_strategy": "group_by_length",
            },
            id="cosine, grouped by length, two micro-batches",
        ),
        pytest.param(7, {"lr_scheduler_type": "warmup_stable_decay", "decay_fraction": 0.5}, id="with a decay"),
        pytest.param(5, {"weight_decay": 0.0, "lr_scheduler_type": "constant"}, id="decay of weights switched on"),
    ],
)
def test_going_on_from_another_equals_the_same_recipe_trained_alone(
    prepared: data.PreparedData, tmp_path: Path, first: int, fields: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    one = {"step": first, "learning_rate": 0.03, "max_grad_norm": None, "weight_decay": 0.2}
    train(prepared, store, "parent", spec([], **fields), first=first)
    seen: list[float] = []
    child = spec([one], "parent", first, **fields)
    record = train(prepared, store, "child", child, lambda progress: seen.append(progress.step), first=first)
    alone = train(prepared, store, "alone", spec([one], **fields), first=first)
    assert record.status == alone.status == "COMPLETE", (record.failure, alone.failure)
    assert_the_same(store, "child", "alone")
    assert (record.asked, record.applied) == (alone.asked, alone.applied)
    assert min(seen) >= first, "only what comes after was trained"
    assert record.metrics["branched_from_step"] == first
    assert weights(store, "child") != weights(store, "parent")
    steps = {int(path.name.rpartition("-")[2]) for path in store.branch_points_folder("child").glob("*")}
    assert steps == {step for step in range(first, 16, first) if step > first}


@pytest.mark.slow
def test_a_grandchild_that_was_interrupted_equals_the_same_recipe_that_nobody_looked_at(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    first, second = {"step": 4, "learning_rate": 0.02}, {"step": 8, "max_grad_norm": 0.02}
    train(prepared, store, "parent", spec([]), first=4)
    train(prepared, store, "child", spec([first], "parent", 4), first=4)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 12:
            raise KeyboardInterrupt

    asked = spec([first, second], "child", 8)
    with pytest.raises(KeyboardInterrupt):
        train(prepared, store, "grandchild", asked, interrupt, first=4)
    record = train(prepared, store, "grandchild", asked, first=4)
    assert record.resumed_from_step is not None
    assert record.resumed_from_step > 8
    train(prepared, store, "alone", spec([first, second]))
    looked, alone = history(store, "grandchild"), history(store, "alone")
    kept = looked[looked["rung_loss"].isna()].drop(columns="rung_loss").reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, alone, check_exact=True)
    assert weights(store, "grandchild") == weights(store, "alone")


@pytest.mark.slow
def test_where_the_checkpoint_is_gone_it_is_trained_from_the_start_and_says_so(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    train(prepared, store, "parent", spec([]), first=4)
    train(prepared, store, "child", spec(CHANGED[:1], "parent", 4), first=4)
    store.delete(store.branch_points_folder("parent"))
    record = train(prepared, store, "again", spec(CHANGED[:1], "parent", 4), first=4)
    assert record.metrics["branched_from_step"] == 0
    assert_the_same(store, "again", "child")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([{"step": 5}], "has no values"),
        ([{"step": 5, "warmup_steps": 3}], "Extra inputs"),
        ([{"step": 0, "learning_rate": 1}], "greater than 0"),
        ([{"step": 5, "learning_rate": 0}], "greater than 0"),
        ([{"step": 5, "learning_rate": 1}, {"step": 5, "weight_decay": 1}], "above the one before"),
    ],
)
def test_changes_that_make_no_sense_are_refused(wrong: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        spec(wrong)


def test_a_change_after_the_end_and_several_workers_are_refused(prepared: data.PreparedData, tmp_path: Path) -> None:
    from sweeper.errors import UsageError
    from sweeper.training.schedule import check_hyperparameter_changes

    with pytest.raises(UsageError, match="a run of 10 optimizer steps"):
        check_hyperparameter_changes(spec(CHANGED), 10)
    shared = spec(CHANGED).model_copy(update={"engine": EngineSpec(name="ddp", distributed=True)})
    with pytest.raises(UsageError, match="several workers"):
        check_hyperparameter_changes(shared, 16)


def test_changes_are_identity_and_from_where_a_trial_went_on_is_not() -> None:
    def identity(asked: TrialSpec) -> str:
        return compute_trial_fingerprint(
            asked.recipe, 0, weights_fingerprint="w", data_fingerprint="d", branch=asked.branch
        )

    assert identity(spec([])) == compute_trial_fingerprint(RECIPE, 0, weights_fingerprint="w", data_fingerprint="d")
    specs = [spec([]), spec(CHANGED), spec(CHANGED[:1]), spec([CHANGED[0] | {"weight_decay": RECIPE.weight_decay}])]
    assert len({identity(asked) for asked in specs}) == 4
    assert identity(spec(CHANGED, "parent", 10)) == identity(spec(CHANGED))
    assert identity(spec(CHANGED, "parent")) != identity(spec(CHANGED))
    assert "changes" not in RECIPE.model_dump()
    assert Recipe.model_validate(spec(CHANGED).recipe.model_dump(mode="json")) == spec(CHANGED).recipe
