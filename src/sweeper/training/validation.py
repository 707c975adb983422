"""Loss on the validation split, averaged over target tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


@torch.no_grad()
def compute_validation_loss(
    model: torch.nn.Module,
    rows: Sequence[dict[str, list[int]]],
    collate: Callable[[list[dict[str, list[int]]]], dict[str, torch.Tensor]],
    max_tokens: int,
) -> float:
    """Mean negative log-likelihood in nats per target token, over all rows; NaN where there is no target.

    Rows go by length, in batches of at most `tokens` tokens (at least one row), so that they hold little padding and
    need no more memory than training does; the mean does not hang on the order. Several workers share the batches out;
    all of them get the mean.
    """
    group = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, workers = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if group else (0, 1)
    device = next(model.parameters()).device
    was_training, total, count = model.training, 0.0, 0
    model.eval()
    try:
        batches = _make_batches([len(row["input_ids"]) for row in rows], max_tokens)
        for turn in range(-(-len(batches) // workers)):
            # Under ZeRO 3 every worker takes part in every forward pass: one without a batch left repeats its last.
            mine = turn * workers + rank
            chosen = batches[min(mine, len(batches) - 1)]
            batch: dict[str, Any] = collate([rows[i] for i in chosen])
            batch = {key: value.to(device) for key, value in batch.items()}
            loss = model(**batch, num_items_in_batch=1, use_cache=False).loss  # divided by 1: the sum
            if mine < len(batches):
                total, count = total + float(loss), count + int((batch["labels"][:, 1:] != -100).sum())
    finally:
        model.train(was_training)
    if group:
        sums = torch.tensor([total, count], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(sums)
        total, count = float(sums[0]), int(sums[1])
    return total / count if count else float("nan")


def _make_batches(lengths: list[int], max_tokens: int) -> list[list[int]]:
    """Row numbers, the longest of a batch last: padded to it, they are `tokens` at most."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[row] <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
