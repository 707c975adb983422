"""Loss on the validation split, averaged over target tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


@torch.no_grad()
def validation_loss(
    model: torch.nn.Module,
    rows: Sequence[dict[str, list[int]]],
    collate: Callable[[list[dict[str, list[int]]]], dict[str, torch.Tensor]],
    batch_size: int,
) -> float:
    """Mean negative log-likelihood in nats per target token, over all rows; NaN where there is no target.

    Rows go by length, so that a batch holds little padding; the mean does not hang on the order.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    device = next(model.parameters()).device
    was_training, total, count = model.training, 0.0, 0
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            batch: dict[str, Any] = collate([rows[i] for i in order[start : start + batch_size]])
            batch = {key: value.to(device) for key, value in batch.items()}
            labels = batch.pop("labels")[:, 1:]
            logits = model(**batch, use_cache=False).logits[:, :-1]
            picked = labels != -100
            losses = torch.nn.functional.cross_entropy(logits[picked].float(), labels[picked], reduction="sum")
            total, count = total + float(losses), count + int(picked.sum())
    finally:
        model.train(was_training)
    return total / count if count else float("nan")
