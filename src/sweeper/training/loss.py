"""A language model's loss without the logits of prompts and padding.

In tool-calling data one token in twenty is a target, and OPT's vocabulary has 50,272 entries. TRL's own fused head
restricts itself to targets only where Triton is available, and projects twice everywhere.
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
"""Architectures (`model_type`) whose logits are the output embedding applied to the last hidden states, unscaled."""


def patch_target_only_loss(model: Any) -> bool:
    """Patch a model's forward pass: with `labels` it returns the same loss as before, and no logits.

    Without `labels`, for generation, the forward pass stays as it was. Patch before wrapping: wrappers (autocast,
    DistributedDataParallel, DeepSpeed) call the patched method.

    Args:
        model: a causal language model of transformers.

    Returns:
        False, with the model unchanged, for an architecture whose logits may be more than its output embedding (some
        scale or cap them).
    """
    if model.config.model_type not in PLAIN_HEAD_ARCHITECTURES:
        return False
    original = model.forward

    @functools.wraps(type(model).forward)  # `generate` and the Trainer inspect its signature
    def forward(self: Any, *args: Any, labels: Any = None, num_items_in_batch: Any = None, **inputs: Any) -> Any:
        if labels is None:
            return original(*args, **inputs)
        # With adapters, `base_model` of a PeftModel is peft's wrapper; peft.inject_adapter_in_model keeps this model.
        hidden = self.base_model(*args, **inputs).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        is_target = targets != -100
        targets = targets[is_target]
        total = compute_summed_loss(self.get_output_embeddings(), hidden[is_target], targets)
        return CausalLMOutput(loss=total / (len(targets) if num_items_in_batch is None else num_items_in_batch))

    model.forward = types.MethodType(forward, model)
    return True


def compute_summed_loss(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the sum of the negative log-likelihoods of the targets.

    More than `LOSS_CHUNK_TOKENS` targets are processed in chunks, whose logits are recomputed in the backward pass.
    Under ZeRO 3 there is one chunk: every worker has to gather the head equally often, and each has its own number of
    targets.

    Args:
        head: the output embedding.
        hidden: hidden states that predict the targets, (n, width).
        targets: token ids, (n,).

    Returns:
        A scalar, nats; 0 where n is 0.
    """
    if len(targets) <= LOSS_CHUNK_TOKENS or hasattr(head.weight, "ds_id"):
        return _compute_chunk_loss(head, hidden, targets)
    chunks = zip(hidden.split(LOSS_CHUNK_TOKENS), targets.split(LOSS_CHUNK_TOKENS), strict=True)
    # A chunk draws no random numbers: no generator state has to be saved.
    losses = [
        checkpoint(_compute_chunk_loss, head, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks
    ]
    return torch.stack(losses).sum()


def _compute_chunk_loss(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="sum")
