"""Sizes against instantiated models; loading and building as a trial does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from sweeper.data import train_tokenizer
from sweeper.errors import ModelError, UsageError
from sweeper.models import (
    KNOWN_CONFIGS,
    build,
    load,
    parameter_count,
    parameters,
    positions,
    stretch_positions,
    stretched_to,
    weights_fingerprint,
)
from sweeper.spec import DataSpec, ModelSpec

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


def test_stretched_positions_pass_through_the_old_ones(tokenizer: PreTrainedTokenizerFast) -> None:
    spec = ModelSpec(name="tiny", config=TINY)
    model = build(spec, tokenizer, 0)
    old = model.model.decoder.embed_positions.weight.detach().clone()
    stretch_positions(model, 63)  # 31 gaps of 32 positions, each halved
    new = model.model.decoder.embed_positions.weight
    assert new.shape == (65, 16)
    assert torch.equal(new[:2], old[:2]), "the padding offset stays"
    torch.testing.assert_close(new[2::2], old[2:])
    torch.testing.assert_close(new[3::2], (old[2:-1] + old[3:]) / 2)
    assert sum(p.numel() for p in model.parameters()) == parameters(spec, len(tokenizer), 63)
    assert model(input_ids=torch.full((1, 63), 5)).logits.shape[1] == 63
    with pytest.raises(IndexError):
        model(input_ids=torch.full((1, 64), 5))


def test_a_stretched_model_loads_as_it_was_saved(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = stretch_positions(build(ModelSpec(name="tiny", config=TINY), tokenizer, 0), 50)
    model.save_pretrained(tmp_path)
    again = load(str(tmp_path))
    assert positions(ModelSpec(name="saved", source=str(tmp_path))) == 50
    ids = torch.arange(50)[None]
    torch.testing.assert_close(again.eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def test_positions_are_checked_against_max_length() -> None:
    data = DataSpec(name="d", source="toolworld", api_format="signature", fold_steps=True, max_length=2049)
    opt = ModelSpec(name="opt-350m", source="facebook/opt-350m")
    with pytest.raises(UsageError, match=r"2,049(.|\n)*2,048"):
        stretched_to(opt, data)
    assert stretched_to(opt, data.model_copy(update={"extend_positions": "interpolate"})) == 2049
    assert stretched_to(opt, data.model_copy(update={"max_length": 2048})) is None
    assert positions(ModelSpec(name="default", config={"hidden_size": 8})) == OPTConfig().max_position_embeddings
