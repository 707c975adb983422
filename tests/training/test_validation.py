"""The validation loss is a mean over target tokens."""

from __future__ import annotations

import math

import pytest
import torch
from loss_models import make_batch, make_model

from sweeper.training.validation import compute_validation_loss


@pytest.mark.parametrize("patched", [False, True])
def test_compute_validation_loss_is_the_mean_over_targets(patched: bool) -> None:
    model, rows = make_model("opt", patched=patched), make_batch()
    logits = model.eval()(rows["input_ids"]).logits[:, :-1].double()
    del rows["attention_mask"]
    targets = rows["labels"][:, 1:]
    picked = targets != -100
    expected = torch.nn.functional.cross_entropy(logits[picked], targets[picked])
    listed = [{key: value[i].tolist() for key, value in rows.items()} for i in range(7)]

    def collate(chosen: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        return {key: torch.tensor([row[key] for row in chosen]) for key in chosen[0]}

    assert compute_validation_loss(model, listed, collate, max_tokens=48) == pytest.approx(expected.item(), rel=1e-6)
    assert math.isnan(compute_validation_loss(model, [listed[1]], collate, max_tokens=48))
