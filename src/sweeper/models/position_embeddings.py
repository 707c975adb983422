"""The number of positions of a model, and interpolation of OPT's learned positions to more of them."""

from __future__ import annotations

from typing import Any, assert_never

from sweeper.config import DataSpec, ModelSpec
from sweeper.errors import ModelError, UsageError
from sweeper.models.architecture import DEFAULT_FAMILY, POSITION_OFFSET, read_size
from sweeper.models.known_configs import load_config

_POSITION_TABLES = ("embed_positions", "position_embeddings", "wpe")
"""Names that transformers gives to a table of learned positions."""


def get_max_positions(model: ModelSpec) -> int | None:
    """Return the number of positions in a model's config; None if it sets no limit.

    Args:
        model: pretrained, or built from a config.

    Returns:
        Number of positions; None without a limit.

    Raises:
        ModelError: no config, or an unreadable one.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> get_max_positions(load_model_spec("opt-350m"))
        2048
    """
    config = load_config(model, vocab_size=0)
    return None if config.get("max_position_embeddings") is None else read_size(config, "max_position_embeddings")


def resolve_extended_positions(model: ModelSpec, data: DataSpec) -> int | None:
    """Return the number of positions that a model must be stretched to for the data; None if it has enough.

    Args:
        model: the model.
        data: the data, with the longest row.

    Returns:
        Number of positions; None if the model's own are enough.

    Raises:
        UsageError: it has too few, and the data do not set `extend_positions` or it is not an OPT.
        ModelError: no config, or an unreadable one.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> from sweeper.config import load_data_spec
        >>> resolve_extended_positions(load_model_spec("opt-350m"), load_data_spec("toolworld")) is None
        True
    """
    positions = get_max_positions(model)
    if positions is None or data.max_length <= positions:
        return None
    family = load_config(model, vocab_size=0).get("model_type", DEFAULT_FAMILY)
    if family != "opt":
        # Rotary positions are no table to interpolate.
        raise UsageError(
            f"model {model.name}",
            requested=f"data.max_length {data.max_length:,}",
            found=f"a {family} model of {positions:,} positions: only OPT's learned positions can be stretched",
            hint=f"a max_length of at most {positions}, or an OPT",
        )
    match data.extend_positions:
        case "interpolate":
            return data.max_length
        case None:
            raise UsageError(
                f"model {model.name}",
                requested=f"data.max_length {data.max_length:,}",
                found=f"a model of {positions:,} positions",
                hint=f"a max_length of at most {positions}, or data.extend_positions: interpolate (--extend-positions)",
            )
        case _:
            assert_never(data.extend_positions)


def interpolate_positions(model: Any, count: int) -> Any:
    """Stretch an OPT model's table of learned positions in place, by linear interpolation that keeps both ends.

    The first two rows of the table (fairseq's padding offset) stay as they are.

    Args:
        model: an `OPTForCausalLM`.
        count: number of positions afterwards.

    Returns:
        The model.

    Raises:
        ModelError: another architecture.
    """
    import torch

    if model.config.model_type != "opt":
        raise ModelError(
            "models",
            requested="extend_positions: interpolate",
            found=f"model_type {model.config.model_type}",
            hint="an OPT",
        )
    table = model.model.decoder.embed_positions
    old = table.weight.detach()
    head, learned = old[:POSITION_OFFSET], old[POSITION_OFFSET:]
    longer = torch.nn.functional.interpolate(learned.T[None], size=count, mode="linear", align_corners=True)[0].T
    table.weight = torch.nn.Parameter(torch.cat([head, longer]))
    table.num_embeddings = count + POSITION_OFFSET
    model.config.max_position_embeddings = count
    return model


def count_positions(model: Any) -> int | None:
    """Return the number of positions of a model: the rows of a learned table, or else its config's number.

    Args:
        model: a causal language model; its weights may be sharded over several workers.

    Returns:
        Number of positions; None for a model without a limit.

    Example:
        >>> from transformers import OPTConfig, OPTForCausalLM
        >>> sizes = {"hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 8, "num_attention_heads": 1}
        >>> count_positions(OPTForCausalLM(OPTConfig(num_hidden_layers=1, max_position_embeddings=64, **sizes)))
        64
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _POSITION_TABLES and hasattr(module, "weight"):
            shape = getattr(module.weight, "ds_shape", module.weight.shape)  # ZeRO 3 empties the weight itself
            return int(shape[0]) - int(getattr(module, "offset", 0))
    positions = getattr(model.config, "max_position_embeddings", None)
    return None if positions is None else int(positions)
