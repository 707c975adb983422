"""Floating-point operations of training and evaluating, from a config alone.

Model FLOPs, a multiplication and an addition counted as two: what the mathematics asks for, whatever the hardware did.
Padding, the optimiser and the recomputation of gradient checkpointing are left out, causal masking saves nothing, and
layer norms, softmax and look-ups are neglected, all as in the sources below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper.models.parameter_counts import count_non_embedding_parameters, count_output_head_parameters


@dataclass(frozen=True)
class TokenFlops:
    """FLOPs per token, by where they go."""

    body: float
    """Weights of the layers: 2 N forward, 4 N backward; N without embeddings (Kaplan et al. 2020, section 2.1)."""
    attention: float
    """Scores and their weighted sums: 12 x layers x hidden x length (Chowdhery et al. 2022, PaLM, appendix B)."""
    head: float
    """Logits: 6 x vocabulary x width (Hoffmann et al. 2022, Chinchilla, appendix F). Kaplan's N leaves them out, which
    would hide 58 % of Pythia-70M's matrix products and 8 % of Pythia-1.4B's: no equal compute over a ladder."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.body + self.attention + self.head


def compute_flops_per_token(config: dict[str, Any], mean_length: float) -> TokenFlops:
    """Forward and backward FLOPs for one token in rows of `mean_length` tokens. Raises ModelError.

    Attention grows with the length of a token's own row: over rows of unequal length the mean over rows is a lower
    bound for that term, the mean over tokens exact.
    """
    body = 6.0 * count_non_embedding_parameters(config)
    return TokenFlops(
        body=body,
        attention=12.0 * int(config["num_hidden_layers"]) * int(config["hidden_size"]) * mean_length,
        head=6.0 * count_output_head_parameters(config),
    )


def compute_train_flops(config: dict[str, Any], tokens: float, mean_length: float) -> float:
    """FLOPs of training on `tokens` tokens, repetitions counted, in rows of `mean_length` tokens. Raises ModelError."""
    return compute_flops_per_token(config, mean_length).total * tokens


def compute_forward_flops(config: dict[str, Any], tokens: float, mean_length: float) -> float:
    """FLOPs of reading or writing `tokens` tokens without a backward pass: a third of training's. Raises ModelError."""
    return compute_train_flops(config, tokens, mean_length) / 3
