"""Configs of OPT and GPT-NeoX models small enough to instantiate."""

from __future__ import annotations

from typing import Any

from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

TINY = {
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 64,
    "max_position_embeddings": 32,
}
TINY_NEOX = {
    "model_type": "gpt_neox",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
}
KINDS: dict[str, Any] = {"opt": (OPTConfig, OPTForCausalLM), "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM)}


def instantiate(config: dict[str, Any], **more: Any) -> Any:
    """Make the model of a config, without pretrained weights."""
    fields = dict(config)
    config_class, model_class = KINDS[fields.pop("model_type", "opt")]
    return model_class._from_config(config_class(**fields), **more)
