"""Parameter counts from a config alone."""

from __future__ import annotations

from sweeper.config import ModelSpec
from sweeper.models.architecture import Architecture, ModelConfig
from sweeper.models.known_configs import load_config


def count_model_parameters(model: ModelSpec, vocab_size: int, positions: int | None = None) -> int:
    """Count the parameters of a model.

    Args:
        vocab_size: vocabulary of a model that is built from a config.
        positions: number of positions that its table is stretched to; None keeps its own.

    Raises:
        ModelError: no config, or one that cannot be counted.
    """
    config = load_config(model, vocab_size)
    return count_parameters({**config, "max_position_embeddings": positions} if positions else config)


def count_parameters(config: ModelConfig) -> int:
    """Count all parameters, exactly as in `OPTForCausalLM` and `GPTNeoXForCausalLM`.

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> count_parameters(KNOWN_CONFIGS["EleutherAI/pythia-70m"])
        70426624
    """
    return Architecture.parse(config).parameters


def count_non_embedding_parameters(config: ModelConfig) -> int:
    """Count the parameters that are neither token nor position embeddings: N of Kaplan et al. 2020, exactly.

    Raises:
        ModelError: another architecture, or a missing field.
    """
    return Architecture.parse(config).body_parameters
