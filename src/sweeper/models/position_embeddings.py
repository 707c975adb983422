"""How many tokens a model can take, and OPT's table of learned positions stretched to take more."""

from __future__ import annotations

from typing import Any

from sweeper.config import DataSpec, ModelSpec
from sweeper.errors import ModelError, UsageError
from sweeper.models.known_configs import load_config
from sweeper.models.parameter_counts import POSITION_OFFSET


def get_max_positions(model: ModelSpec) -> int | None:
    """Tokens a model was made for (OPT: has learned positions for), from its config; None where it states no limit."""
    found = load_config(model, vocab_size=0).get("max_position_embeddings")
    return None if found is None else int(found)


def resolve_extended_positions(model: ModelSpec, data: DataSpec) -> int | None:
    """Positions that the data's `max_length` asks a model to be stretched to; None where it has enough.

    Raises UsageError where it has too few and the data do not say `extend_positions`, or it is no OPT.
    """
    found = get_max_positions(model)
    if found is None or data.max_length <= found:
        return None
    kind = load_config(model, vocab_size=0).get("model_type", "opt")
    if kind != "opt":
        # Rotary positions are no table to interpolate: said here, before anything is trained.
        raise UsageError(
            f"model {model.name}",
            requested=f"data.max_length {data.max_length:,}",
            found=f"a model of {found:,} positions, model_type {kind}: only OPT's learned positions are stretched",
            hint=f"a max_length of at most {found}, or an OPT",
        )
    if data.extend_positions is None:
        raise UsageError(
            f"model {model.name}",
            requested=f"data.max_length {data.max_length:,}",
            found=f"a model of {found:,} positions",
            hint=f"a max_length of at most {found}, or data.extend_positions: interpolate (--extend-positions)",
        )
    return data.max_length


def interpolate_positions(model: Any, count: int) -> Any:
    """The OPT model with `count` learned positions, linearly interpolated from those it has, ends kept in place.

    The table's first two rows (fairseq's padding offset) stay as they are. Raises ModelError for another architecture.
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
