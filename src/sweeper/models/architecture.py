"""The dimensions of an OPT or GPT-NeoX model, read once from a `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from sweeper.errors import ModelError

ModelConfig: TypeAlias = Mapping[str, Any]
"""The fields of a model's `config.json`, as transformers names them."""
Family = Literal["opt", "gpt_neox"]
"""Supported values of `model_type`."""
SUPPORTED_FAMILIES: tuple[Family, ...] = get_args(Family)
POSITION_OFFSET = 2
"""OPT's table of learned positions has two rows more than positions (fairseq's padding offset)."""
MAX_LAYERS = 10_000
MAX_SIZE = 10**8
"""Of a vocabulary, a width or a number of positions. No model comes near either limit; a slip of the pen does."""
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
"""Names of the number of layers, by architecture."""
DEFAULT_FAMILY: Family = "opt"
"""`model_type` of a model built from a config that does not have one."""


@dataclass(frozen=True)
class Architecture:
    """Everything about a model that its parameters, FLOPs and memory depend on."""

    family: Family
    vocab_size: int
    hidden_size: int
    num_layers: int
    feed_forward_width: int
    embedding_width: int
    """Width of token embeddings; OPT-350M projects them to the hidden size and back."""
    position_table_rows: int
    """Rows of the table of learned positions; 0 for rotary positions."""
    has_tied_embeddings: bool
    """Whether the input and the output embeddings are one matrix."""
    has_attention_bias: bool
    has_feed_forward_bias: bool
    has_norm_weights: bool
    """Whether layer norms have a scale and a shift."""
    has_final_norm: bool
    """Whether a layer norm follows the last layer."""
    norms_on_residual: int
    """Layer norms per layer that keep an input of their own from the residual stream for the backward pass."""
    has_dropout: bool
    is_relu: bool
    """Whether the activation is ReLU, whose backward pass needs one tensor where others need two."""
    num_heads: int | None
    """None if the config does not give it."""
    attention: str
    """`attn_implementation`: `sdpa` or `eager`."""

    @classmethod
    def parse(cls, config: ModelConfig) -> Architecture:
        """Read the fields of a `config.json`.

        Raises:
            ModelError: an unsupported `model_type`, or a missing field.
        """
        match get_family(config):
            case "opt":
                return cls._parse_opt(config)
            case "gpt_neox":
                return cls._parse_gpt_neox(config)

    @classmethod
    def _parse_opt(cls, config: ModelConfig) -> Architecture:
        is_pre_norm, has_bias = bool(config.get("do_layer_norm_before", True)), bool(config.get("enable_bias", True))
        hidden_size = read_size(config, "hidden_size")
        return cls(
            family="opt",
            vocab_size=read_size(config, "vocab_size"),
            hidden_size=hidden_size,
            num_layers=read_size(config, "num_hidden_layers"),
            feed_forward_width=read_size(config, "ffn_dim"),
            embedding_width=read_size(config, "word_embed_proj_dim")
            if config.get("word_embed_proj_dim") is not None
            else hidden_size,
            position_table_rows=read_size(config, "max_position_embeddings") + POSITION_OFFSET,
            has_tied_embeddings=bool(config.get("tie_word_embeddings", True)),
            has_attention_bias=has_bias,
            has_feed_forward_bias=has_bias,
            has_norm_weights=bool(config.get("layer_norm_elementwise_affine", True)),
            has_final_norm=is_pre_norm and not config.get("_remove_final_layer_norm"),
            norms_on_residual=2,
            has_dropout=bool(config.get("dropout", 0.1)),
            is_relu=config.get("activation_function", "relu") == "relu",
            num_heads=_read_heads(config),
            attention=str(config.get("attn_implementation", "sdpa")),
        )

    @classmethod
    def _parse_gpt_neox(cls, config: ModelConfig) -> Architecture:
        hidden_size = read_size(config, "hidden_size")
        return cls(
            family="gpt_neox",
            vocab_size=read_size(config, "vocab_size"),
            hidden_size=hidden_size,
            num_layers=read_size(config, "num_hidden_layers"),
            feed_forward_width=read_size(config, "intermediate_size"),
            embedding_width=hidden_size,
            position_table_rows=0,
            has_tied_embeddings=bool(config.get("tie_word_embeddings", False)),
            has_attention_bias=bool(config.get("attention_bias", True)),
            has_feed_forward_bias=True,
            has_norm_weights=True,
            has_final_norm=True,
            # With parallel residuals, both norms of a layer read the same tensor.
            norms_on_residual=1 if config.get("use_parallel_residual", True) else 2,
            has_dropout=bool(config.get("hidden_dropout", 0.0)),
            is_relu=config.get("hidden_act", "gelu") == "relu",
            num_heads=_read_heads(config),
            attention=str(config.get("attn_implementation", "sdpa")),
        )

    @property
    def has_projections(self) -> bool:
        """Whether embeddings are projected to the hidden size and back."""
        return self.embedding_width != self.hidden_size

    @property
    def head_parameters(self) -> int:
        """Weights of the matrix that makes logits: vocabulary x embedding width."""
        return self.vocab_size * self.embedding_width

    @property
    def body_parameters(self) -> int:
        """Parameters that are neither token nor position embeddings, input or output.

        Per layer: the attention's four projections (three of them one matrix in GPT-NeoX), two feed-forward matrices
        and two layer norms. Then the final norm and the projections of the embeddings.
        """
        hidden, wide = self.hidden_size, self.feed_forward_width
        attention = 4 * (hidden * hidden + (hidden if self.has_attention_bias else 0))
        feed_forward = 2 * hidden * wide + (wide + hidden if self.has_feed_forward_bias else 0)
        norm = 2 * hidden if self.has_norm_weights else 0
        projections = 2 * self.embedding_width * hidden if self.has_projections else 0
        return (
            self.num_layers * (attention + feed_forward + 2 * norm) + (norm if self.has_final_norm else 0) + projections
        )

    @property
    def parameters(self) -> int:
        """All parameters."""
        tables = 1 if self.has_tied_embeddings else 2
        return self.body_parameters + tables * self.head_parameters + self.position_table_rows * self.hidden_size


def get_family(config: ModelConfig) -> Family:
    """Return the `model_type` of a config.

    Raises:
        ModelError: an unsupported one.
    """
    name = config.get("model_type", DEFAULT_FAMILY)
    for family in SUPPORTED_FAMILIES:
        if name == family:
            return family
    raise ModelError(
        "models",
        requested="parameters, FLOPs or memory of a model",
        found=f"unsupported model_type {name}",
        hint=f"one of {', '.join(SUPPORTED_FAMILIES)}",
    )


def _read_heads(config: ModelConfig) -> int | None:
    return None if config.get("num_attention_heads") is None else read_size(config, "num_attention_heads")


def read_size(config: ModelConfig, key: str, where: str = "models") -> int:
    """Return a size from a config.

    Args:
        config: the model's config.
        key: its field, such as `hidden_size`.
        where: what a message begins with.

    Returns:
        Its value.

    Raises:
        ModelError: it is missing, not a whole number above 0, or larger than that of any model.

    Example:
        >>> read_size({"num_hidden_layers": 12}, "num_hidden_layers")
        12
    """
    value, most = config.get(key), MAX_LAYERS if key in _LAYER_COUNTS else MAX_SIZE
    if value is None:
        found, hint = f"a config without `{key}`", f"add `{key}` to it"
    elif isinstance(value, bool) or not isinstance(value, int):
        found, hint = f"`{key}: {str(value)[:40]}`", "a whole number"
    elif not 0 < value <= most:
        found, hint = f"`{key}: {value if abs(value) < 10**18 else 'a number of over 18 digits'}`", f"1 to {most:,}"
    else:
        return value
    raise ModelError(where, requested="parameters, FLOPs or memory of a model", found=found, hint=hint)


def check_layer_count(config: ModelConfig, where: str) -> None:
    """Refuse a config, of any architecture, with more layers than any model: building them would never end.

    Args:
        config: the model's config.
        where: what a message begins with.

    Raises:
        ModelError: there are more than `MAX_LAYERS`, or not a number of them.

    Example:
        >>> check_layer_count({"model_type": "gpt2", "n_layer": 12}, "model gpt2")
    """
    for key in _LAYER_COUNTS:
        if config.get(key) is not None:
            read_size(config, key, where)
