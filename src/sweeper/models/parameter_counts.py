"""Parameter counts from a config alone: of a model, and of what a recipe trains of it."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.config import ModelSpec, Recipe
from sweeper.errors import ModelError
from sweeper.models.architecture import Architecture, ModelConfig
from sweeper.models.known_configs import load_config


@dataclass(frozen=True)
class TrainableParameters:
    """The parameters that a recipe trains."""

    total: int
    """All of them: each has a gradient and optimizer states."""
    body: int
    """Those that are neither token nor position embeddings: a gradient of each takes 2 FLOPs per token."""
    head: int
    """Those of the matrix that makes logits: as the body's."""


def count_trainable_parameters(architecture: Architecture, recipe: Recipe | None) -> TrainableParameters:
    """Count the parameters that a recipe trains: all of them, whatever the recipe.

    All predictions depend on this function: FLOPs, memory and disk usage. A recipe field that freezes weights or trains
    adapters changes the counts here alone.

    Args:
        architecture: of the model.
        recipe: of the training; None for one that trains all parameters.

    Returns:
        Numbers of parameters, by what depends on them.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> architecture = parse_model_architecture(load_model_spec("opt-125m"), vocab_size=0)
        >>> count_trainable_parameters(architecture, None).total
        125239296
    """
    return TrainableParameters(architecture.parameters, architecture.body_parameters, architecture.head_parameters)


def parse_model_architecture(model: ModelSpec, vocab_size: int, positions: int | None = None) -> Architecture:
    """Read the architecture of a model.

    Args:
        model: pretrained, or built from a config.
        vocab_size: vocabulary of a model that is built from a config.
        positions: number of positions that its table is stretched to; None keeps its own.

    Returns:
        Its layers, widths, vocabulary and positions.

    Raises:
        ModelError: no config, or one of another architecture.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> parse_model_architecture(load_model_spec("opt-1.3b"), vocab_size=0).num_layers
        24
    """
    config = load_config(model, vocab_size)
    try:
        return Architecture.parse({**config, "max_position_embeddings": positions} if positions else config)
    except ModelError as error:
        where = f"model {model.name}"
        raise ModelError(where, requested=error.requested, found=error.found, hint=error.hint) from error


def count_parameters(config: ModelConfig) -> int:
    """Count all parameters, exactly as in `OPTForCausalLM` and `GPTNeoXForCausalLM`.

    Args:
        config: the model's config.

    Returns:
        Number of parameters.

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> count_parameters(KNOWN_CONFIGS["EleutherAI/pythia-70m"])
        70426624
    """
    return Architecture.parse(config).parameters


def count_non_embedding_parameters(config: ModelConfig) -> int:
    """Count the parameters that are neither token nor position embeddings: N of Kaplan et al. 2020, exactly.

    Args:
        config: the model's config.

    Returns:
        Number of parameters.

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> config = load_config(load_model_spec("opt-350m"), vocab_size=0)
        >>> count_non_embedding_parameters(config)
        303357952
    """
    return Architecture.parse(config).body_parameters
