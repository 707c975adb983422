"""One trial without Ray: what is asked is applied, the same trial gives the same history, and an end is a record."""

from __future__ import annotations

import gc
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from tiny_trial import CONFIG, DATA, MODEL, RECIPE, make_test_schedule

from sweeper import data
from sweeper.config import DataSpec, ModelSpec, Recipe, Runtime, TrialSpec, compute_trial_fingerprint
from sweeper.errors import UsageError
from sweeper.models import compute_train_flops, load_config
from sweeper.storage import Store
from sweeper.training import ProgressListener, TrainingProgress, TrialJob, TrialRecord, train_trial
from sweeper.training.applied_settings import list_mismatches
from sweeper.training.schedule import compute_row_flops, count_examples_seen, count_optimizer_steps

NEOX = ModelSpec(
    name="tiny-neox",
    config={
        "model_type": "gpt_neox",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 300,
    },
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> data.PreparedData:
    return data.prepare_data(DATA, MODEL, tmp_path_factory.mktemp("store"))


def train(
    prepared: data.PreparedData,
    root: Path,
    tell: ProgressListener = lambda progress: None,
    model: ModelSpec = MODEL,
    data_spec: DataSpec = DATA,
    **recipe: Any,
) -> TrialRecord:
    spec = TrialSpec(
        model=model,
        data=data_spec,
        recipe=Recipe.model_validate(RECIPE.model_dump() | recipe),
        seed=3,
        runtime=Runtime(),
    )
    return train_trial(TrialJob(spec, "f", prepared.fingerprint), lambda: prepared, Store(root), tell)


def history(root: Path) -> pd.DataFrame:
    return pd.read_parquet(Store(root).trial_folder("f") / "history.parquet")


@pytest.mark.slow
def test_asked_is_applied_and_recorded(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train(prepared, tmp_path, gradient_accumulation_steps=2)
    assert record.status == "COMPLETE", record.failure
    assert list_mismatches(record.asked, record.applied) == []
    assert record.applied["effective_batch_size"] == 16
    assert record.applied["optimizer_steps"] == 2 * 4
    assert record.applied["examples_seen"] == 120
    assert record.applied["max_grad_norm"] == 0.3
    manifest = prepared.manifest
    tokens = record.metrics["tokens"]
    assert tokens == 2 * manifest.tokens.train
    mean_length = manifest.tokens.train / manifest.rows.train
    config = load_config(MODEL, manifest.vocab_size)
    assert record.metrics["train_flops"] == pytest.approx(compute_train_flops(config, tokens, mean_length))
    directory = Store(tmp_path).trial_folder("f")
    assert (directory / "model" / "model.safetensors").exists()
    assert not (directory / "checkpoints").exists()
    rows = history(tmp_path)
    assert rows["step"].is_monotonic_increasing
    assert rows["val_loss"].notna().sum() == 2, "one at the end of each epoch"
    assert rows["grad_norm"].max() > 0.3, "norms are recorded before clipping"


@pytest.mark.slow
def test_clipping_off_is_applied_as_off(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train(prepared, tmp_path, max_grad_norm=None, num_train_epochs=1)
    assert record.status == "COMPLETE", record.failure
    assert record.applied["max_grad_norm"] is None


@pytest.mark.slow
def test_the_same_trial_twice_gives_the_same_history(prepared: data.PreparedData, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(prepared, tmp_path / name)
    pd.testing.assert_frame_equal(history(tmp_path / "a"), history(tmp_path / "b"))


@pytest.mark.slow
def test_loader_workers_serve_the_same_rows_in_the_same_order(prepared: data.PreparedData, tmp_path: Path) -> None:
    for workers in (0, 2):
        record = train(prepared, tmp_path / str(workers), dataloader_num_workers=workers)
        assert record.status == "COMPLETE", record.failure
    pd.testing.assert_frame_equal(history(tmp_path / "0"), history(tmp_path / "2"))


@pytest.mark.slow
def test_the_fused_optimiser_is_the_same_but_for_its_rounding(prepared: data.PreparedData, tmp_path: Path) -> None:
    for optim in ("adamw_torch", "adamw_torch_fused"):
        record = train(prepared, tmp_path / optim, optim=optim)
        assert record.status == "COMPLETE", record.failure
    plain, fused = history(tmp_path / "adamw_torch"), history(tmp_path / "adamw_torch_fused")
    pd.testing.assert_frame_equal(plain, fused, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({"train_sampling_strategy": "random"}, id="random"),
        pytest.param({"train_sampling_strategy": "group_by_length"}, id="group_by_length"),
        pytest.param({"max_steps": 13}, id="max_steps"),
        pytest.param({"train_flops_budget": 2.3e9}, id="train_flops_budget"),
    ],
)
def test_an_interrupted_trial_goes_on_to_the_same_end(
    prepared: data.PreparedData, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    run = partial(train, **recipe)
    whole = run(prepared, tmp_path / "whole")
    assert whole.status == "COMPLETE", whole.failure
    assert whole.applied["train_sampling_strategy"] == recipe.get("train_sampling_strategy", "random")

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(prepared, tmp_path / "cut", interrupt)
    directory = Store(tmp_path / "cut").trial_folder("f")
    assert not (directory / "record.json").exists()
    newest = max((directory / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    broken = directory / "checkpoints" / "checkpoint-999"
    broken.mkdir()  # what a kill in the middle of writing leaves
    resumed = run(prepared, tmp_path / "cut")
    assert resumed.status == "COMPLETE", resumed.failure
    assert resumed.resumed_from_step == int(newest.name.split("-")[1]) > 0
    for metric in ("val_loss", "tokens", "train_flops", "steps"):
        assert resumed.metrics[metric] == whole.metrics[metric]
    assert resumed.applied == whole.applied
    pd.testing.assert_frame_equal(history(tmp_path / "cut"), history(tmp_path / "whole"))


@pytest.mark.slow
def test_a_kill_after_the_last_step_of_a_run_that_ends_within_an_epoch(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    whole = train(prepared, tmp_path / "whole", max_steps=13)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.val_loss is not None and progress.step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared, tmp_path / "cut", interrupt, max_steps=13)
    assert (Store(tmp_path / "cut").trial_folder("f") / "checkpoints" / "checkpoint-13").exists()
    resumed = train(prepared, tmp_path / "cut", max_steps=13)
    assert resumed.status == "COMPLETE", resumed.failure
    assert resumed.metrics["steps"] == 13
    pd.testing.assert_frame_equal(history(tmp_path / "cut"), history(tmp_path / "whole"))
    assert resumed.metrics["tokens"] == whole.metrics["tokens"]


@pytest.mark.slow
def test_steps_end_a_run_as_epochs_do_and_within_one(prepared: data.PreparedData, tmp_path: Path) -> None:
    train(prepared, tmp_path / "epochs")
    by_steps = train(prepared, tmp_path / "steps", max_steps=16, num_train_epochs=7)
    assert by_steps.status == "COMPLETE", by_steps.failure
    pd.testing.assert_frame_equal(history(tmp_path / "epochs"), history(tmp_path / "steps"))
    record = train(prepared, tmp_path / "within", max_steps=6, gradient_accumulation_steps=2)
    assert record.status == "COMPLETE", record.failure
    assert record.asked["examples_seen"] == record.applied["examples_seen"] == 60 + 2 * 16
    tokens, whole = record.metrics["tokens"], prepared.manifest.tokens.train
    assert tokens is not None
    assert whole < tokens < 2 * whole
    assert record.metrics["val_loss"] == history(tmp_path / "within")["val_loss"].dropna().iloc[-1]
    assert history(tmp_path / "within")["val_loss"].notna().sum() == 2, "at the epoch's end and at the run's"


@pytest.mark.slow
def test_equal_compute_at_two_sizes(prepared: data.PreparedData, tmp_path: Path) -> None:
    budget = 7e9
    records = [
        train(prepared, tmp_path / model.name, model=model, train_flops_budget=budget) for model in (MODEL, NEOX)
    ]
    for record in records:
        assert record.status == "COMPLETE", record.failure
        assert record.metrics["train_flops"] == pytest.approx(budget, rel=0.05)
    small, large = (record.applied["optimizer_steps"] for record in records)
    assert small > 3 * large
    assert (records[0].parameters or 0) < (records[1].parameters or 0)


@pytest.mark.slow
def test_a_budget_that_cannot_be_met_fails(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train(prepared, tmp_path, train_flops_budget=1e8)
    assert record.failure is not None
    assert record.failure.kind == "bad-input"
    assert "train_flops_budget" in record.failure.message
    recipe = RECIPE.model_copy(update={"train_flops_budget": 1e9})
    with pytest.raises(UsageError, match="unknown FLOPs"):
        count_optimizer_steps(recipe, 60)


@pytest.mark.parametrize("rows", [180.0, 237.0, 239.0, 241.0, 1000.4])
def test_the_steps_of_a_budget_are_the_nearest(rows: float) -> None:
    recipe = RECIPE.model_copy(update={"train_flops_budget": rows * 7.0})
    steps = count_optimizer_steps(recipe, 60, 7.0)
    off = [abs(count_examples_seen(recipe, 60, count) - rows) for count in (steps - 1, steps, steps + 1)]
    assert off[1] == min(off)


def test_a_run_has_one_end() -> None:
    with pytest.raises(ValidationError, match="`max_steps` and `train_flops_budget`"):
        Recipe.model_validate(RECIPE.model_dump() | {"max_steps": 5, "train_flops_budget": 1e9})

    def identity(**fields: Any) -> str:
        return compute_trial_fingerprint(
            RECIPE.model_copy(update=fields), 0, weights_fingerprint="w", data_fingerprint="d"
        )

    ends = [{}, {"max_steps": 16}, {"max_steps": 17}, {"train_flops_budget": 1e9}, {"train_flops_budget": 2e9}]
    assert len({identity(**end) for end in ends}) == 5
    assert identity(num_train_epochs=1.0, max_steps=16) == identity(num_train_epochs=2.0, max_steps=16)


def test_compute_of_an_unknown_architecture_is_undefined() -> None:
    size = data.DataSize(rows=10, tokens=100, vocab_size=5)
    unknown = compute_row_flops(ModelSpec(name="x", config={"model_type": "gpt2"}), size)
    assert math.isnan(unknown.per_row)
    assert unknown.mean_length == 10


@pytest.mark.slow
def test_a_finished_trial_is_not_trained_again(prepared: data.PreparedData, tmp_path: Path) -> None:
    first = train(prepared, tmp_path)
    told: list[TrainingProgress] = []
    assert train(prepared, tmp_path, told.append) == first
    assert told == []


@pytest.mark.slow
def test_a_trained_model_does_not_stay_in_memory_while_it_is_evaluated(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    def models() -> set[int]:
        return {id(one) for one in gc.get_objects() if type(one).__name__ == "OPTForCausalLM"}

    gc.collect()
    before = models()
    gc.disable()  # what refers to itself is then found by nobody else
    try:
        assert train(prepared, tmp_path).status == "COMPLETE"
        assert models() <= before
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_trial_that_raises_is_a_row_and_is_tried_again(prepared: data.PreparedData, tmp_path: Path) -> None:
    def fail(progress: TrainingProgress) -> None:
        raise ZeroDivisionError("planted")

    record = train(prepared, tmp_path, fail)
    assert record.status == "FAILED"
    assert record.failure is not None
    assert (record.failure.kind, "planted" in record.failure.traceback) == ("bug", True)
    assert train(prepared, tmp_path).status == "COMPLETE"


@pytest.mark.slow
def test_a_warm_up_longer_than_the_run_fails(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train(prepared, tmp_path, warmup_steps=1000)
    assert record.status == "FAILED"
    assert record.failure is not None
    assert "16 optimizer steps" in record.failure.message


@pytest.mark.slow
def test_rows_longer_than_the_models_positions_fail(prepared: data.PreparedData, tmp_path: Path) -> None:
    short = ModelSpec(name="short", config=CONFIG | {"max_position_embeddings": 20})
    record = train(prepared, tmp_path, model=short)
    assert record.failure is not None
    assert "20 positions" in record.failure.message
    assert record.failure.kind == "bad-input"


@pytest.mark.slow
def test_a_run_that_blows_up_is_diverged(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train(prepared, tmp_path, learning_rate=50.0, max_grad_norm=None, num_train_epochs=6, warmup_steps=1)
    assert record.status == "DIVERGED"
    assert (Store(tmp_path).trial_folder("f") / "model").exists()


def test_every_difference_is_named() -> None:
    assert list_mismatches({"a": 1.0, "b": None, "c": "x"}, {"a": 1.0 + 1e-9, "b": None, "c": "x"}) == []
    assert len(list_mismatches({"a": 1.0, "b": None, "c": "x"}, {"a": 1.1, "b": 0.3, "c": "y"})) == 3


def padded_share(trainer: Any) -> float:
    """Of the tokens of one epoch's micro-batches, as the trainer serves them."""
    batches = [batch["input_ids"] for batch in trainer.get_train_dataloader()]
    pad = trainer.processing_class.pad_token_id
    return sum(int((ids == pad).sum()) for ids in batches) / sum(ids.numel() for ids in batches)


@pytest.mark.slow
def test_grouping_by_length_leaves_less_padding_and_another_order_each_epoch(tmp_path: Path) -> None:
    from sweeper.models import build_model
    from sweeper.training.batching import split_batch
    from sweeper.training.sft_config import make_sft_config
    from sweeper.training.sft_trainer import LeanSFTTrainer

    larger = DATA.model_copy(update={"toolworld": DATA.toolworld | {"train_queries": 600}})
    prepared = data.prepare_data(larger, MODEL, tmp_path / "store")
    rows, tokenizer = prepared.load_split("train"), prepared.load_tokenizer()
    shares = {}
    for order in ("random", "group_by_length"):
        recipe = RECIPE.model_copy(update={"train_sampling_strategy": order})
        trainer = LeanSFTTrainer(
            model=build_model(MODEL, tokenizer, 0),
            args=make_sft_config(recipe, 0, make_test_schedule(recipe), split_batch(recipe, 1), tmp_path, cuda=False),
            train_dataset=rows,
            processing_class=tokenizer,
        )
        shares[order] = padded_share(trainer)
    assert shares["group_by_length"] < shares["random"] / 2
    sampler = trainer._get_train_sampler()
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(len(rows)))
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.slow
def test_stretched_positions_are_trained_and_recorded(prepared: data.PreparedData, tmp_path: Path) -> None:
    short = ModelSpec(name="short", config=CONFIG | {"max_position_embeddings": 100})
    longer = DATA.model_copy(update={"extend_positions": "interpolate"})
    record = train(prepared, tmp_path, model=short, data_spec=longer, num_train_epochs=1)
    assert record.status == "COMPLETE", record.failure
    assert record.asked["positions"] == record.applied["positions"] == 300
    saved = json.loads((Store(tmp_path).trial_folder("f") / "model" / "config.json").read_text())
    assert saved["max_position_embeddings"] == 300


@pytest.mark.slow
def test_the_lean_trainer_has_trls_loss_and_gradients(prepared: data.PreparedData, tmp_path: Path) -> None:
    from trl import SFTTrainer

    from sweeper.models import build_model
    from sweeper.training.batching import split_batch
    from sweeper.training.sft_config import make_sft_config
    from sweeper.training.sft_trainer import LeanSFTTrainer

    rows = prepared.load_split("train").select_columns(["input_ids", "labels"])
    tokenizer = prepared.load_tokenizer()
    no_dropout = ModelSpec(name="tiny", config=CONFIG | {"dropout": 0.0})
    results = []
    for kind in (SFTTrainer, LeanSFTTrainer):
        model = build_model(no_dropout, tokenizer, 0)
        config = make_sft_config(
            RECIPE, 0, make_test_schedule(RECIPE), split_batch(RECIPE, 1), tmp_path / kind.__name__, cuda=False
        )
        trainer = kind(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
        batch = trainer.data_collator([rows[i] for i in range(8)])
        loss = trainer.compute_loss(model, batch, num_items_in_batch=(batch["labels"] != -100).sum())
        loss.backward()
        results.append((loss.item(), float(model.model.decoder.embed_tokens.weight.grad.norm())))
    assert results[1] == pytest.approx(results[0], rel=1e-4)
