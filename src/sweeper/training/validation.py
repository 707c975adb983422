"""The validation loss: mean over target tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sweeper.training.distributed import get_rank, get_world_size, is_distributed


@torch.no_grad()
def compute_validation_loss(
    model: torch.nn.Module,
    rows: Sequence[dict[str, list[int]]],
    collate: Callable[[list[dict[str, list[int]]]], dict[str, torch.Tensor]],
    max_tokens: int,
) -> float:
    """Return the mean negative log-likelihood over the target tokens of all rows.

    Rows are batched by length, for little padding; the mean does not depend on the order. Several workers share the
    batches, and all of them return the mean.

    Args:
        model: the model; its training mode is restored.
        rows: `input_ids` and `labels` of each row.
        collate: pads a batch of rows.
        max_tokens: largest batch, in tokens, padding included; a batch has at least one row. With the size of a
            training batch, it needs less memory than training.

    Returns:
        Nats per target token; NaN without any target.
    """
    rank, workers = get_rank(), get_world_size()
    device = next(model.parameters()).device
    was_training, total, count = model.training, 0.0, 0
    model.eval()
    try:
        batches = _make_batches([len(row["input_ids"]) for row in rows], max_tokens)
        for turn in range(-(-len(batches) // workers)):
            # Under ZeRO 3 every worker takes part in every forward pass: one without a batch repeats the last one.
            mine = turn * workers + rank
            chosen = batches[min(mine, len(batches) - 1)]
            batch = {key: value.to(device) for key, value in collate([rows[i] for i in chosen]).items()}
            loss = model(**batch, num_items_in_batch=1, use_cache=False).loss  # divided by 1: the sum
            if mine < len(batches):
                total, count = total + float(loss), count + int((batch["labels"][:, 1:] != -100).sum())
    finally:
        model.train(was_training)
    if is_distributed():
        sums = torch.tensor([total, count], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(sums)
        total, count = float(sums[0]), int(sums[1])
    return total / count if count else float("nan")


def _make_batches(lengths: list[int], max_tokens: int) -> list[list[int]]:
    """Return row numbers by length: a batch, padded to its longest row, has at most `max_tokens` tokens."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[row] <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
