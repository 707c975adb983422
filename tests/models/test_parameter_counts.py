"""Parameter counts against instantiated models and published numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import TINY, TINY_NEOX, instantiate

from sweeper.models import (
    KNOWN_CONFIGS,
    Architecture,
    TrainableParameters,
    count_non_embedding_parameters,
    count_parameters,
    count_trainable_parameters,
)


@pytest.mark.parametrize(
    "config",
    [
        *KNOWN_CONFIGS.values(),
        {**TINY, "vocab_size": 300},
        {**TINY, "vocab_size": 300, "enable_bias": False},
        {**TINY, "vocab_size": 300, "layer_norm_elementwise_affine": False},
        {**TINY, "vocab_size": 300, "word_embed_proj_dim": 8, "do_layer_norm_before": False},
        {**TINY_NEOX, "vocab_size": 300},
        {**TINY_NEOX, "vocab_size": 300, "attention_bias": False},
        {**TINY_NEOX, "vocab_size": 300, "tie_word_embeddings": True},
        {**TINY_NEOX, "vocab_size": 300, "use_parallel_residual": False, "intermediate_size": 24},
    ],
)
def test_counts_equal_instantiated_models(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = instantiate(config)
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())
    layers = model.gpt_neox if hasattr(model, "gpt_neox") else model.model.decoder
    tables = ("embed_tokens", "embed_positions", "embed_in")
    body = sum(p.numel() for name, p in layers.named_parameters() if not name.startswith(tables))
    assert count_non_embedding_parameters(config) == body
    trainable = count_trainable_parameters(Architecture.parse(config), None)
    head = model.get_output_embeddings().weight.numel()
    assert trainable == TrainableParameters(count_parameters(config), body, head)


@pytest.mark.parametrize(
    ("size", "total", "non_embedding"),
    [  # the model cards on the hub
        ("70m", 70_426_624, 18_915_328),
        ("160m", 162_322_944, 85_056_000),
        ("410m", 405_334_016, 302_311_424),
        ("1b", 1_011_781_632, 805_736_448),
        ("1.4b", 1_414_647_808, 1_208_602_624),
    ],
)
def test_pythia_counts_match_the_published_ones(size: str, total: int, non_embedding: int) -> None:
    config = KNOWN_CONFIGS[f"EleutherAI/pythia-{size}"]
    assert (count_parameters(config), count_non_embedding_parameters(config)) == (total, non_embedding)
