"""Parameter counts from a config alone."""

from __future__ import annotations

from typing import Any

from sweeper.errors import ModelError
from sweeper.models.catalogue import config_of
from sweeper.spec import ModelSpec

POSITION_OFFSET = 2
"""OPT's table of learned positions has two rows more than positions (fairseq's padding offset)."""
COUNTED = ("opt", "gpt_neox")
"""Architectures (`model_type`) whose size is known from their config."""


def parameters(model: ModelSpec, vocab_size: int, positions: int | None = None) -> int:
    """Parameters of a model; `vocab_size` counts for models built from a config. `positions`: stretched to so many.

    Raises ModelError.
    """
    config = config_of(model, vocab_size)
    return parameter_count(config | {"max_position_embeddings": positions} if positions else config)


def parameter_count(config: dict[str, Any]) -> int:
    """Exact number of parameters of a causal language model, as `OPTForCausalLM` and `GPTNeoXForCausalLM` have them.

    `non_embedding_count`, the token embedding, where it is not tied the output embedding, and OPT's table of learned
    positions (GPT-NeoX has rotary ones, without parameters). Raises ModelError for another architecture.
    """
    body, table = non_embedding_count(config), output_head_size(config)
    if _is_opt(config):
        tied, positions = True, _number(config, "max_position_embeddings") + POSITION_OFFSET
    else:
        tied, positions = False, 0
    tables = 1 if config.get("tie_word_embeddings", tied) else 2
    return body + tables * table + positions * _number(config, "hidden_size")


def non_embedding_count(config: dict[str, Any]) -> int:
    """Parameters that are neither token nor position embeddings, input or output: N of Kaplan et al. 2020, exactly.

    Counted, with their biases: per layer the attention's four projections (three of them one matrix in GPT-NeoX), two
    feed-forward matrices and two layer norms; the last layer norm (of OPT's pre-norm variants alone); OPT-350M's
    projections between embedding and hidden width. Raises ModelError.
    """
    return _opt_body(config) if _is_opt(config) else _neox_body(config)


def output_head_size(config: dict[str, Any]) -> int:
    """Weights of the matrix that makes logits, tied to the input's or not: vocabulary x embedding width."""
    hidden = _number(config, "hidden_size")
    return _number(config, "vocab_size") * (_opt_width(config) if _is_opt(config) else hidden)


def _is_opt(config: dict[str, Any]) -> bool:
    kind = config.get("model_type", "opt")
    if kind not in COUNTED:
        raise ModelError(
            "models", asked="a parameter count", found=f"model_type {kind}", do=f"one of {', '.join(COUNTED)}"
        )
    return bool(kind == "opt")


def _opt_body(config: dict[str, Any]) -> int:
    hidden, width = _number(config, "hidden_size"), _opt_width(config)
    bias = 1 if config.get("enable_bias", True) else 0
    norm = 2 * hidden if config.get("layer_norm_elementwise_affine", True) else 0
    attention = 4 * (hidden * hidden + bias * hidden)
    layers = _number(config, "num_hidden_layers") * (attention + _feed_forward(config, "ffn_dim", bias) + 2 * norm)
    projections = 2 * width * hidden if width != hidden else 0
    last_norm = norm if config.get("do_layer_norm_before", True) and not config.get("_remove_final_layer_norm") else 0
    return layers + projections + last_norm


def _neox_body(config: dict[str, Any]) -> int:
    hidden = _number(config, "hidden_size")
    bias = 1 if config.get("attention_bias", True) else 0
    norm = 2 * hidden
    attention = 4 * (hidden * hidden + bias * hidden)
    layer = attention + _feed_forward(config, "intermediate_size", 1) + 2 * norm
    return _number(config, "num_hidden_layers") * layer + norm


def _feed_forward(config: dict[str, Any], width: str, bias: int) -> int:
    hidden, wide = _number(config, "hidden_size"), _number(config, width)
    return 2 * hidden * wide + bias * (wide + hidden)


def _opt_width(config: dict[str, Any]) -> int:
    """Of the embeddings, where it is not the hidden width."""
    return int(config.get("word_embed_proj_dim") or _number(config, "hidden_size"))


def _number(config: dict[str, Any], key: str) -> int:
    if config.get(key) is None:
        raise ModelError("models", asked="a parameter count", found=f"a config without `{key}`", do=f"give its `{key}`")
    return int(config[key])
