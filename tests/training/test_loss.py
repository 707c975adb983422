"""The loss of the target tokens alone is the model's own loss: value, gradients and whole trainings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from loss_models import CONFIGS, VOCABULARY, make_batch, make_model
from tiny_trial import DATA, MODEL, RECIPE

from sweeper import data
from sweeper.config import Recipe, Runtime, TrialSpec
from sweeper.storage import Store
from sweeper.training import TrialJob, TrialRecord, train_trial
from sweeper.training import loss as target_loss
from sweeper.training.loss import patch_target_only_loss


def get_gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("name", CONFIGS)
def test_target_only_loss_has_the_models_own_loss_and_gradients(
    name: str, pieces: int, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, items = make_batch(), torch.tensor(50)
    target_count = int((rows["labels"][:, 1:] != -100).sum())
    monkeypatch.setattr(target_loss, "LOSS_CHUNK_TOKENS", math.ceil(target_count / pieces))
    losses, grads = [], []
    for patched in (False, True):
        model = make_model(name, patched=patched)
        if checkpointing:
            model.activation_checkpointing_enable()
        out = model(**rows, num_items_in_batch=items, use_cache=False)
        assert (out.logits is None) == patched
        out.loss.backward()
        losses.append(out.loss.item())
        grads.append(get_gradients(model))
        assert model(**rows, use_cache=False).loss.item() == pytest.approx(losses[-1] * 50 / target_count, rel=1e-6)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for key, gradient in grads[0].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(grads[1][key], gradient, rtol=1e-5, atol=max(1e-6 * scale, 1e-9), msg=key)


def test_rows_without_a_target_have_no_loss_and_zero_gradients() -> None:
    rows = make_batch() | {"labels": torch.full((7, 24), -100)}
    for patched in (False, True):
        model = make_model("opt", patched=patched)
        loss = model(**rows, num_items_in_batch=50, use_cache=False).loss
        loss.backward()
        assert loss.item() == 0
        assert all(gradient is not None and not gradient.any() for gradient in get_gradients(model).values())
        assert math.isnan(model(**rows, use_cache=False).loss.item())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_target_only_loss_in_half_precision_differs_only_by_rounding(
    dtype: torch.dtype, pieces: int, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 with the loss scaled as on a GPU: its small gradients would be zero otherwise."""
    rows, scale = make_batch(), 2.0**10 if dtype == torch.float16 else 1.0
    target_count = int((rows["labels"][:, 1:] != -100).sum())
    monkeypatch.setattr(target_loss, "LOSS_CHUNK_TOKENS", math.ceil(target_count / pieces))
    losses, grads = [], []
    for patched in (False, True):
        model = make_model("opt", patched=patched)
        if checkpointing:
            model.activation_checkpointing_enable()
        with torch.autocast("cpu", dtype=dtype):
            losses.append(model(**rows, use_cache=False).loss)
        (losses[-1] * scale).backward()
        assert losses[-1].dtype == torch.float32
        grads.append(get_gradients(model))
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    for key, gradient in grads[0].items():
        assert gradient.isfinite().all()
        rounding = 0.02 * float(gradient.abs().max())
        torch.testing.assert_close(grads[1][key], gradient, rtol=0.02, atol=max(rounding, 1e-6 * scale), msg=key)


def test_patched_model_without_labels_returns_logits_and_generates() -> None:
    plain, targets_only = make_model("opt", patched=False).eval(), make_model("opt", patched=True).eval()
    ids = make_batch()["input_ids"]
    torch.testing.assert_close(targets_only(ids).logits, plain(ids).logits, rtol=0, atol=0)
    options = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    assert targets_only.generate(ids, **options).tolist() == plain.generate(ids, **options).tolist()


def test_patch_leaves_a_model_that_scales_its_logits_alone() -> None:
    from transformers import CohereConfig, CohereForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = CohereForCausalLM(CohereConfig(vocab_size=VOCABULARY, pad_token_id=1, **sizes))
    before = model.forward
    assert model.config.logit_scale != 1
    assert not patch_target_only_loss(model)
    assert model.forward == before


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 3])
def test_training_with_target_only_loss_has_the_same_curve(
    accumulation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = data.prepare_data(DATA, MODEL, tmp_path / "store")
    recipe = RECIPE.model_dump() | {"gradient_accumulation_steps": accumulation, "warmup_steps": 2}
    spec = TrialSpec(model=MODEL, data=DATA, recipe=Recipe.model_validate(recipe), seed=3, runtime=Runtime())

    def train(name: str) -> tuple[TrialRecord, pd.DataFrame]:
        store = Store(tmp_path / name)
        record = train_trial(TrialJob(spec, "f", prepared.fingerprint), lambda: prepared, store, lambda progress: None)
        assert record.status == "COMPLETE", record.failure
        return record, pd.read_parquet(store.trial_folder("f") / "history.parquet")

    record, targets = train("targets")
    assert record.environment["logits_of"] == "targets"
    monkeypatch.setattr("sweeper.training.sft_trainer.patch_target_only_loss", lambda model: False)
    record, whole = train("all")
    assert record.environment["logits_of"] == "all"
    assert len(whole) > 5
    pd.testing.assert_frame_equal(targets, whole, rtol=2e-5)
