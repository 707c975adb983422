"""The loss of target tokens alone is the loss: value, gradients, whole trainings, validation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_trial import CONFIG, DATA, MODEL, RECIPE

from sweeper import data
from sweeper.config import ModelSpec, Recipe, Runtime, TrialSpec
from sweeper.models import build_model
from sweeper.storage import Store
from sweeper.training import TrialJob, TrialRecord, train_trial
from sweeper.training import loss as target_loss
from sweeper.training.loss import patch_target_only_loss
from sweeper.training.validation import compute_validation_loss

VOCABULARY = 97
OPT = CONFIG | {"dropout": 0.0, "num_hidden_layers": 2}
NEOX = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "opt": OPT,
    "opt-350m's shape": OPT | {"word_embed_proj_dim": 8, "do_layer_norm_before": False},
    "gpt-neox": NEOX | {"intermediate_size": 32, "max_position_embeddings": 300},
}


class Tokenizer:
    pad_token_id, bos_token_id, eos_token_id = 1, 2, 2

    def __len__(self) -> int:
        return VOCABULARY


def model_of(name: str, *, alone: bool) -> Any:
    model = build_model(ModelSpec(name="tiny", config=CONFIGS[name]), Tokenizer(), seed=0)
    assert not alone or patch_target_only_loss(model)
    return model.train()


def batch() -> dict[str, torch.Tensor]:
    """Rows: prompt and answer; no target at all; one; answer cut off at the row's end; a target that nothing predicts;
    all targets; padding."""
    ids = torch.randint(3, VOCABULARY, (7, 24), generator=torch.Generator().manual_seed(0))
    labels, mask = torch.full_like(ids, -100), torch.ones_like(ids)
    labels[0, 10:18] = ids[0, 10:18]
    labels[2, 7] = ids[2, 7]
    labels[3, 12:] = ids[3, 12:]
    labels[4, 0] = ids[4, 0]
    labels[5] = ids[5]
    labels[6, 5:9] = ids[6, 5:9]
    mask[6, 9:] = 0
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("name", CONFIGS)
def test_loss_and_gradients_are_the_models_own(
    name: str, pieces: int, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, items = batch(), torch.tensor(50)
    wanted = int((rows["labels"][:, 1:] != -100).sum())
    monkeypatch.setattr(target_loss, "LOSS_CHUNK_TOKENS", math.ceil(wanted / pieces))
    losses, grads = [], []
    for alone in (False, True):
        model = model_of(name, alone=alone)
        if checkpointing:
            model.activation_checkpointing_enable()
        out = model(**rows, num_items_in_batch=items, use_cache=False)
        assert (out.logits is None) == alone
        out.loss.backward()
        losses.append(out.loss.item())
        grads.append(gradients(model))
        assert model(**rows, use_cache=False).loss.item() == pytest.approx(losses[-1] * 50 / wanted, rel=1e-6)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for key, gradient in grads[0].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(grads[1][key], gradient, rtol=1e-5, atol=max(1e-6 * scale, 1e-9), msg=key)


def test_rows_without_a_target_have_no_loss_and_zero_gradients() -> None:
    rows = batch() | {"labels": torch.full((7, 24), -100)}
    for alone in (False, True):
        model = model_of("opt", alone=alone)
        loss = model(**rows, num_items_in_batch=50, use_cache=False).loss
        loss.backward()
        assert loss.item() == 0
        assert all(gradient is not None and not gradient.any() for gradient in gradients(model).values())
        assert math.isnan(model(**rows, use_cache=False).loss.item())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_the_same_but_for_its_rounding(
    dtype: torch.dtype, pieces: int, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 with the loss scaled as on a GPU: its small gradients would be zero otherwise."""
    rows, scale = batch(), 2.0**10 if dtype == torch.float16 else 1.0
    wanted = int((rows["labels"][:, 1:] != -100).sum())
    monkeypatch.setattr(target_loss, "LOSS_CHUNK_TOKENS", math.ceil(wanted / pieces))
    losses, grads = [], []
    for alone in (False, True):
        model = model_of("opt", alone=alone)
        if checkpointing:
            model.activation_checkpointing_enable()
        with torch.autocast("cpu", dtype=dtype):
            losses.append(model(**rows, use_cache=False).loss)
        (losses[-1] * scale).backward()
        assert losses[-1].dtype == torch.float32
        grads.append(gradients(model))
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    for key, gradient in grads[0].items():
        assert gradient.isfinite().all()
        rounding = 0.02 * float(gradient.abs().max())
        torch.testing.assert_close(grads[1][key], gradient, rtol=0.02, atol=max(rounding, 1e-6 * scale), msg=key)


def test_without_labels_there_are_logits_and_texts() -> None:
    plain, patched = model_of("opt", alone=False).eval(), model_of("opt", alone=True).eval()
    ids = batch()["input_ids"]
    torch.testing.assert_close(patched(ids).logits, plain(ids).logits, rtol=0, atol=0)
    asked = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    assert patched.generate(ids, **asked).tolist() == plain.generate(ids, **asked).tolist()


def test_a_model_that_does_more_to_its_logits_is_left_alone() -> None:
    from transformers import CohereConfig, CohereForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = CohereForCausalLM(CohereConfig(vocab_size=VOCABULARY, pad_token_id=1, **sizes))
    before = model.forward
    assert model.config.logit_scale != 1
    assert not patch_target_only_loss(model)
    assert model.forward == before


@pytest.mark.parametrize("alone", [False, True])
def test_validation_loss_is_the_mean_over_targets(alone: bool) -> None:
    model, rows = model_of("opt", alone=alone), batch()
    logits = model.eval()(rows["input_ids"]).logits[:, :-1].double()
    del rows["attention_mask"]
    targets = rows["labels"][:, 1:]
    picked = targets != -100
    by_hand = torch.nn.functional.cross_entropy(logits[picked], targets[picked])
    listed = [{key: value[i].tolist() for key, value in rows.items()} for i in range(7)]

    def collate(chosen: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        return {key: torch.tensor([row[key] for row in chosen]) for key in chosen[0]}

    assert compute_validation_loss(model, listed, collate, max_tokens=48) == pytest.approx(by_hand.item(), rel=1e-6)
    assert math.isnan(compute_validation_loss(model, [listed[1]], collate, max_tokens=48))


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_whole_training_has_the_same_curve(
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
