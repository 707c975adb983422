"""Parameter counts from a config alone."""

from __future__ import annotations

from typing import Any

from sweeper.errors import ModelError
from sweeper.models.catalogue import config_of
from sweeper.spec import ModelSpec

POSITION_OFFSET = 2
"""OPT's table of learned positions has two rows more than positions (fairseq's padding offset)."""


def parameters(model: ModelSpec, vocab_size: int, positions: int | None = None) -> int:
    """Parameters of a model; `vocab_size` counts for models built from a config. `positions`: stretched to so many.

    Raises ModelError.
    """
    config = config_of(model, vocab_size)
    return parameter_count(config | {"max_position_embeddings": positions} if positions else config)


def parameter_count(config: dict[str, Any]) -> int:
    """Exact number of parameters of an OPT causal language model, from Zhang et al. 2022 and `OPTForCausalLM`.

    Output and input embeddings are tied. Counted: token and position embeddings, the projections between embedding
    and hidden width where they differ, per layer four attention projections, two feed-forward matrices and two layer
    norms, and the last layer norm of the pre-norm variants. Raises ModelError for another architecture.
    """
    if config.get("model_type", "opt") != "opt":
        raise ModelError(
            "models", asked="a parameter count", found=f"model_type {config['model_type']}", do="use an OPT"
        )
    hidden, ffn = int(config["hidden_size"]), int(config["ffn_dim"])
    width = int(config.get("word_embed_proj_dim") or hidden)
    bias = 1 if config.get("enable_bias", True) else 0
    norm = 2 * hidden if config.get("layer_norm_elementwise_affine", True) else 0
    embeddings = int(config["vocab_size"]) * width
    positions = (int(config["max_position_embeddings"]) + POSITION_OFFSET) * hidden
    projections = 2 * width * hidden if width != hidden else 0
    attention = 4 * (hidden * hidden + bias * hidden)
    feed_forward = 2 * hidden * ffn + bias * (ffn + hidden)
    last_norm = norm if config.get("do_layer_norm_before", True) and not config.get("_remove_final_layer_norm") else 0
    layers = int(config["num_hidden_layers"]) * (attention + feed_forward + 2 * norm)
    if not config.get("tie_word_embeddings", True):
        embeddings *= 2
    return embeddings + positions + projections + layers + last_norm
