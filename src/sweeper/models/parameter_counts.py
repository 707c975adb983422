"""Parameter counts from a config alone."""

from __future__ import annotations

from typing import Any

from sweeper.config import ModelSpec
from sweeper.errors import ModelError
from sweeper.models.known_configs import load_config

POSITION_OFFSET = 2
"""OPT's table of learned positions has two rows more than positions (fairseq's padding offset)."""
SUPPORTED_ARCHITECTURES = ("opt", "gpt_neox")
"""Architectures (`model_type`) whose size is known from their config."""


def count_model_parameters(model: ModelSpec, vocab_size: int, positions: int | None = None) -> int:
    """Parameters of a model; `vocab_size` counts for models built from a config. `positions`: stretched to so many.

    Raises ModelError.
    """
    config = load_config(model, vocab_size)
    return count_parameters(config | {"max_position_embeddings": positions} if positions else config)


def count_parameters(config: dict[str, Any]) -> int:
    """Exact number of parameters of a causal language model, as `OPTForCausalLM` and `GPTNeoXForCausalLM` have them.

    `non_embedding_count`, the token embedding, where it is not tied the output embedding, and OPT's table of learned
    positions (GPT-NeoX has rotary ones, without parameters). Raises ModelError for another architecture.
    """
    body, table = count_non_embedding_parameters(config), count_output_head_parameters(config)
    if _is_opt(config):
        tied, positions = True, _get_int(config, "max_position_embeddings") + POSITION_OFFSET
    else:
        tied, positions = False, 0
    tables = 1 if config.get("tie_word_embeddings", tied) else 2
    return body + tables * table + positions * _get_int(config, "hidden_size")


def count_non_embedding_parameters(config: dict[str, Any]) -> int:
    """Parameters that are neither token nor position embeddings, input or output: N of Kaplan et al. 2020, exactly.

    Counted, with their biases: per layer the attention's four projections (three of them one matrix in GPT-NeoX), two
    feed-forward matrices and two layer norms; the last layer norm (of OPT's pre-norm variants alone); OPT-350M's
    projections between embedding and hidden width. Raises ModelError.
    """
    return _count_opt_body(config) if _is_opt(config) else _count_neox_body(config)


def count_output_head_parameters(config: dict[str, Any]) -> int:
    """Weights of the matrix that makes logits, tied to the input's or not: vocabulary x embedding width."""
    hidden = _get_int(config, "hidden_size")
    return _get_int(config, "vocab_size") * (_get_opt_embedding_width(config) if _is_opt(config) else hidden)


def _is_opt(config: dict[str, Any]) -> bool:
    kind = config.get("model_type", "opt")
    if kind not in SUPPORTED_ARCHITECTURES:
        raise ModelError(
            "models",
            requested="a parameter count",
            found=f"model_type {kind}",
            hint=f"one of {', '.join(SUPPORTED_ARCHITECTURES)}",
        )
    return bool(kind == "opt")


def _count_opt_body(config: dict[str, Any]) -> int:
    hidden, width = _get_int(config, "hidden_size"), _get_opt_embedding_width(config)
    bias = 1 if config.get("enable_bias", True) else 0
    norm = 2 * hidden if config.get("layer_norm_elementwise_affine", True) else 0
    attention = 4 * (hidden * hidden + bias * hidden)
    layers = _get_int(config, "num_hidden_layers") * (
        attention + _count_feed_forward(config, "ffn_dim", bias) + 2 * norm
    )
    projections = 2 * width * hidden if width != hidden else 0
    last_norm = norm if config.get("do_layer_norm_before", True) and not config.get("_remove_final_layer_norm") else 0
    return layers + projections + last_norm


def _count_neox_body(config: dict[str, Any]) -> int:
    hidden = _get_int(config, "hidden_size")
    bias = 1 if config.get("attention_bias", True) else 0
    norm = 2 * hidden
    attention = 4 * (hidden * hidden + bias * hidden)
    layer = attention + _count_feed_forward(config, "intermediate_size", 1) + 2 * norm
    return _get_int(config, "num_hidden_layers") * layer + norm


def _count_feed_forward(config: dict[str, Any], width: str, bias: int) -> int:
    hidden, wide = _get_int(config, "hidden_size"), _get_int(config, width)
    return 2 * hidden * wide + bias * (wide + hidden)


def _get_opt_embedding_width(config: dict[str, Any]) -> int:
    """Of the embeddings, where it is not the hidden width."""
    return int(config.get("word_embed_proj_dim") or _get_int(config, "hidden_size"))


def _get_int(config: dict[str, Any], key: str) -> int:
    if config.get(key) is None:
        raise ModelError(
            "models", requested="a parameter count", found=f"a config without `{key}`", hint=f"give its `{key}`"
        )
    return int(config[key])
