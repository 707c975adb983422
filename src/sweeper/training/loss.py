"""A language model's loss without the logits that nobody asks for: those of prompts and padding.

In tool-calling data one token of twenty is a target, and OPT's vocabulary has 50,272 words. TRL's own fused head scores
targets alone where Triton runs; elsewhere it scores every position, and everywhere it projects twice.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import CausalLMOutput

from sweeper.models import LOSS_CHUNK_TOKENS

PLAIN_HEAD_ARCHITECTURES = ("opt", "gpt_neox")
"""Architectures (`model_type`) whose logits are the output embedding of the last hidden states, and nothing else."""


def patch_target_only_loss(model: Any) -> bool:
    """Patch a model's forward pass: with `labels` it returns the loss that it had before, and no logits.

    False, and nothing done, for an architecture whose logits are not known to be its output embedding alone (others
    scale or cap them). Patched is what wrappers (autocast, DistributedDataParallel, DeepSpeed) call, so it goes before
    them. Without `labels`, for generation, the forward pass is as it was.
    """
    if model.config.model_type not in PLAIN_HEAD_ARCHITECTURES:
        return False
    whole = model.forward

    @functools.wraps(type(model).forward)  # `generate` and the Trainer look at its signature
    def forward(self: Any, *args: Any, labels: Any = None, num_items_in_batch: Any = None, **inputs: Any) -> Any:
        if labels is None:
            return whole(*args, **inputs)
        hidden = self.base_model(*args, **inputs).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        wanted = targets != -100
        targets = targets[wanted]
        total = compute_summed_loss(self.get_output_embeddings(), hidden[wanted], targets)
        return CausalLMOutput(loss=total / (len(targets) if num_items_in_batch is None else num_items_in_batch))

    model.forward = types.MethodType(forward, model)
    return True


def compute_summed_loss(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of the negative log-likelihoods, nats, of `targets` (n,) from `hidden` (n, width); 0 where n is 0.

    More than `TARGETS_AT_ONCE` go in pieces, whose logits are made again in the backward pass. Under ZeRO 3 there is
    one piece: every worker has to gather the head equally often, and each has its own number of targets.
    """
    if len(targets) <= LOSS_CHUNK_TOKENS or hasattr(head.weight, "ds_id"):
        return _compute_piece_loss(head, hidden, targets)
    pieces = zip(hidden.split(LOSS_CHUNK_TOKENS), targets.split(LOSS_CHUNK_TOKENS), strict=True)
    # Nothing random in a piece: no state of generators has to be kept.
    losses = [
        checkpoint(_compute_piece_loss, head, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces
    ]
    return torch.stack(losses).sum()


def _compute_piece_loss(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="sum")
