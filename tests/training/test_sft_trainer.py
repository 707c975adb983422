"""The lean trainer against TRL's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_trial import CONFIG, DATA, MODEL, RECIPE, make_test_schedule

from sweeper import data
from sweeper.config import ModelSpec


def compute_padding_share(trainer: Any) -> float:
    """Return the share of padding in the micro-batches of one epoch."""
    batches = [batch["input_ids"] for batch in trainer.get_train_dataloader()]
    pad = trainer.processing_class.pad_token_id
    return sum(int((ids == pad).sum()) for ids in batches) / sum(ids.numel() for ids in batches)


@pytest.mark.slow
def test_grouping_by_length_needs_less_padding_and_reorders_each_epoch(tmp_path: Path) -> None:
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
        shares[order] = compute_padding_share(trainer)
    assert shares["group_by_length"] < shares["random"] / 2
    sampler = trainer._get_train_sampler()
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(len(rows)))
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.slow
def test_lean_trainer_has_trls_loss_and_gradients(prepared: data.PreparedData, tmp_path: Path) -> None:
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
