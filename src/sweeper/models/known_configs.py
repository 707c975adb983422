"""Configs of published models, known without downloading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sweeper.config import ModelSpec
from sweeper.errors import ModelError
from sweeper.models.architecture import DEFAULT_FAMILY, ModelConfig


def _make_opt_config(hidden: int, layers: int, heads: int, **other: Any) -> dict[str, Any]:
    return {
        "model_type": "opt",
        "vocab_size": 50272,
        "hidden_size": hidden,
        "word_embed_proj_dim": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "ffn_dim": 4 * hidden,
        "max_position_embeddings": 2048,
        "do_layer_norm_before": True,
        **other,
    }


def _make_pythia_config(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "vocab_size": 50304,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
    }


KNOWN_CONFIGS: dict[str, dict[str, Any]] = {
    "facebook/opt-125m": _make_opt_config(768, 12, 12),
    # Unlike the other OPT models: post-layer-norm, 512-wide embeddings projected to 1,024.
    "facebook/opt-350m": _make_opt_config(1024, 24, 16, word_embed_proj_dim=512, do_layer_norm_before=False),
    "facebook/opt-1.3b": _make_opt_config(2048, 24, 32),
    "facebook/opt-2.7b": _make_opt_config(2560, 32, 32),
    # Controls: one architecture, and one corpus in the same order at every size (Biderman et al. 2023, table 1).
    "EleutherAI/pythia-70m": _make_pythia_config(512, 6, 8),
    "EleutherAI/pythia-160m": _make_pythia_config(768, 12, 12),
    "EleutherAI/pythia-410m": _make_pythia_config(1024, 24, 16),
    "EleutherAI/pythia-1b": _make_pythia_config(2048, 16, 8),
    "EleutherAI/pythia-1.4b": _make_pythia_config(2048, 24, 16),
}
"""Hub id -> the fields of its published config.json that decide its size."""

_DEFAULT_MAX_POSITIONS = 2048
"""Default of `OPTConfig` and `GPTNeoXConfig`."""


def load_config(model: ModelSpec, vocab_size: int) -> ModelConfig:
    """Load a model's config: its own fields, the `config.json` of a local folder, or that of a known hub id.

    Args:
        model: pretrained, or built from its own fields.
        vocab_size: size of the tokenizer, for a model built from its own fields.

    Returns:
        The fields of `config.json`.

    Raises:
        ModelError: no config, or an unreadable one.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> load_config(load_model_spec("opt-125m"), vocab_size=0)["num_hidden_layers"]
        12
    """
    if model.config is not None:
        default = {"model_type": DEFAULT_FAMILY, "max_position_embeddings": _DEFAULT_MAX_POSITIONS}
        return {**default, **model.config, "vocab_size": vocab_size}
    source = str(model.source)
    path = Path(source) / "config.json"
    if path.is_file():
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ModelError(f"model {model.name}", requested=str(path), found=f"not readable: {error}") from error
    if source in KNOWN_CONFIGS:
        return KNOWN_CONFIGS[source]
    raise ModelError(
        f"model {model.name}",
        requested=f"source: {source}",
        found="neither a local folder with a config.json nor a known hub id",
        hint=f"known hub ids: {', '.join(KNOWN_CONFIGS)}; or a folder saved by save_pretrained",
    )
