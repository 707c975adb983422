"""Sizes against instantiated models; loading and building as a trial does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from sweeper.data import train_tokenizer
from sweeper.errors import ModelError
from sweeper.models import KNOWN_CONFIGS, build, load, parameter_count, parameters, weights_fingerprint
from sweeper.spec import ModelSpec

TINY = {
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 64,
    "max_position_embeddings": 32,
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["a small corpus of words"] * 3, 300)


@pytest.mark.parametrize(
    "config",
    [
        *KNOWN_CONFIGS.values(),
        {**TINY, "vocab_size": 300},
        {**TINY, "vocab_size": 300, "enable_bias": False},
        {**TINY, "vocab_size": 300, "layer_norm_elementwise_affine": False},
        {**TINY, "vocab_size": 300, "word_embed_proj_dim": 8, "do_layer_norm_before": False},
    ],
)
def test_counts_equal_instantiated_models(config: dict[str, Any]) -> None:
    fields = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        model = OPTForCausalLM(OPTConfig(**fields))
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())


def test_built_models_are_float32_seeded_and_leave_the_random_state_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    spec = ModelSpec(name="tiny", config=TINY)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = build(spec, tokenizer, 0), build(spec, tokenizer, 0), build(spec, tokenizer, 1)
    assert torch.equal(torch.rand(1), expected)
    weights = [m.model.decoder.embed_tokens.weight for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert {p.dtype for p in first.parameters()} == {torch.float32}
    assert parameters(spec, len(tokenizer)) == sum(p.numel() for p in first.parameters())


def test_a_half_precision_checkpoint_loads_as_float32(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    spec = ModelSpec(name="tiny", config=TINY)
    build(spec, tokenizer, 0).half().save_pretrained(tmp_path)
    assert {p.dtype for p in load(str(tmp_path)).parameters()} == {torch.float32}
    saved = ModelSpec(name="saved", source=str(tmp_path))
    assert parameters(saved, 0) == parameters(spec, len(tokenizer))
    before = weights_fingerprint(saved)
    build(spec, tokenizer, 1).half().save_pretrained(tmp_path)
    assert weights_fingerprint(saved) != before


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for source in (str(tmp_path / "nothing"), str(tmp_path)):
        with pytest.raises(ModelError, match=str(tmp_path)):
            weights_fingerprint(ModelSpec(name="x", source=source))
        with pytest.raises(ModelError, match=str(tmp_path)):
            parameters(ModelSpec(name="x", source=source), 0)
        with pytest.raises(ModelError, match="save_pretrained"):
            load(source)
    with pytest.raises(ModelError, match="gpt2"):
        parameter_count({"model_type": "gpt2"})
