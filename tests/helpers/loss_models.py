"""Tiny models and a batch for tests of the loss."""

from __future__ import annotations

from typing import Any

import torch
from tiny_trial import CONFIG

from sweeper.config import ModelSpec
from sweeper.models import build_model
from sweeper.training.loss import patch_target_only_loss

VOCABULARY = 97
_OPT = CONFIG | {"dropout": 0.0, "num_hidden_layers": 2}
_NEOX = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "opt": _OPT,
    "opt-350m's shape": _OPT | {"word_embed_proj_dim": 8, "do_layer_norm_before": False},
    "gpt-neox": _NEOX | {"intermediate_size": 32, "max_position_embeddings": 300},
}


class _Tokenizer:
    pad_token_id, bos_token_id, eos_token_id = 1, 2, 2

    def __len__(self) -> int:
        return VOCABULARY


def make_model(name: str, *, patched: bool) -> Any:
    """Make a model in training mode; with `patched`, one that computes the logits of targets alone."""
    model = build_model(ModelSpec(name="tiny", config=CONFIGS[name]), _Tokenizer(), seed=0)
    assert not patched or patch_target_only_loss(model)
    return model.train()


def make_batch() -> dict[str, torch.Tensor]:
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
