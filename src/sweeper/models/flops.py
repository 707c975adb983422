"""Floating-point operations of training and evaluating, from a config alone.

These are model FLOPs, with a multiplication and an addition counted as two: what the mathematics requires, whatever the
hardware does. As in the sources below, padding, the optimizer and the recomputation of gradient checkpointing are
excluded, causal masking saves nothing, and layer norms, softmax and table look-ups are neglected.
"""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.config import Recipe
from sweeper.models.architecture import Architecture, ModelConfig
from sweeper.models.parameter_counts import count_trainable_parameters


@dataclass(frozen=True)
class TokenFlops:
    """FLOPs per token, by part of the model."""

    body: float
    """Weights of the layers: 2 N forward, 2 N for gradients of activations and 2 N for those of weights; N without
    embeddings (Kaplan et al. 2020, section 2.1). The last N counts only weights that are trained."""
    attention: float
    """Scores and their weighted sums: 12 x layers x hidden x length (Chowdhery et al. 2022, PaLM, appendix B)."""
    head: float
    """Logits: likewise, with N = vocabulary x width (Hoffmann et al. 2022, Chinchilla, appendix F). Kaplan's N excludes
    them, which would hide 58 % of Pythia-70M's matrix products and 8 % of Pythia-1.4B's: compute would not be equal
    over sizes."""

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return self.body + self.attention + self.head


def compute_flops_per_token(config: ModelConfig, mean_length: float, recipe: Recipe | None = None) -> TokenFlops:
    """Compute the forward and backward FLOPs of one token.

    Attention grows with the length of a token's own row. For rows of unequal length, the mean over rows gives a lower
    bound of that part, the mean over tokens its exact value.

    Args:
        config: the model's config.
        mean_length: mean tokens of a row.
        recipe: of the training; None for one that trains all parameters.

    Returns:
        Forward and backward FLOPs of one token.

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> config = load_config(load_model_spec("opt-350m"), vocab_size=0)
        >>> round(compute_flops_per_token(config, mean_length=1024).total / 1e9, 1)
        2.3
    """
    architecture = Architecture.parse(config)
    trainable = count_trainable_parameters(architecture, recipe)
    return TokenFlops(
        body=4.0 * architecture.body_parameters + 2.0 * trainable.body,
        attention=12.0 * architecture.num_layers * architecture.hidden_size * mean_length,  # it has no weights
        head=4.0 * architecture.head_parameters + 2.0 * trainable.head,
    )


def compute_train_flops(config: ModelConfig, tokens: float, mean_length: float) -> float:
    """Compute the FLOPs of training all parameters.

    Args:
        config: the model's config.
        tokens: tokens trained on, repetitions counted.
        mean_length: mean tokens of a row.

    Returns:
        FLOPs, forward and backward; about 6 per parameter and token (Kaplan et al. 2020) plus those of attention.

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> config = load_config(load_model_spec("opt-350m"), vocab_size=0)
        >>> f"{compute_train_flops(config, tokens=1e6, mean_length=1024):.2e}"
        '2.28e+15'
    """
    return compute_flops_per_token(config, mean_length).total * tokens


def compute_forward_flops(config: ModelConfig, tokens: float, mean_length: float) -> float:
    """Compute the FLOPs of reading or generating tokens without a backward pass.

    They are a third of those of training all parameters.

    Args:
        config: the model's config.
        tokens: tokens read or generated.
        mean_length: mean tokens of a row.

    Returns:
        FLOPs (a multiplication and an addition are two).

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> config = load_config(load_model_spec("opt-350m"), vocab_size=0)
        >>> f"{compute_forward_flops(config, tokens=1e6, mean_length=1024):.2e}"
        '7.59e+14'
    """
    return compute_train_flops(config, tokens, mean_length) / 3
