"""Building and loading models as a trial does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import TINY, TINY_NEOX
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

from sweeper.config import ModelSpec
from sweeper.errors import ModelError
from sweeper.models import (
    build_model,
    compute_weights_fingerprint,
    count_parameters,
    interpolate_positions,
    load_pretrained,
    parse_model_architecture,
)


def test_build_model_is_float32_and_seeded_without_touching_the_random_state(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    spec = ModelSpec(name="tiny", config=TINY)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (
        build_model(spec, tokenizer, 0),
        build_model(spec, tokenizer, 0),
        build_model(spec, tokenizer, 1),
    )
    assert torch.equal(torch.rand(1), expected)
    weights = [m.model.decoder.embed_tokens.weight for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert {p.dtype for p in first.parameters()} == {torch.float32}
    assert parse_model_architecture(spec, len(tokenizer)).parameters == sum(p.numel() for p in first.parameters())


def test_tiny_pythia_is_built_trained_and_loaded(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    spec = ModelSpec(name="tiny", config=TINY_NEOX)
    model, again = build_model(spec, tokenizer, 0), build_model(spec, tokenizer, 0)
    assert isinstance(model, GPTNeoXForCausalLM)
    assert torch.equal(model.lm_head.weight, again.lm_head.weight)
    assert (model.config.eos_token_id, model.config.vocab_size) == (tokenizer.eos_token_id, len(tokenizer))
    assert parse_model_architecture(spec, len(tokenizer)).parameters == sum(p.numel() for p in model.parameters())
    model.save_pretrained(tmp_path)
    assert (
        parse_model_architecture(ModelSpec(name="saved", source=str(tmp_path)), 0).parameters
        == parse_model_architecture(spec, len(tokenizer)).parameters
    )
    assert isinstance(load_pretrained(str(tmp_path)), GPTNeoXForCausalLM)
    with pytest.raises(ModelError, match="extend_positions"):
        interpolate_positions(model, 64)


def test_build_model_refuses_invalid_configs(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match=r"llama(.|\n)*opt, gpt_neox"):
        build_model(ModelSpec(name="x", config={"model_type": "llama"}), tokenizer, 0)
    with pytest.raises(ModelError, match="attention heads"):
        build_model(ModelSpec(name="x", config=TINY_NEOX | {"num_attention_heads": 3}), tokenizer, 0)
    with pytest.raises(ModelError, match="ffn_dim"):
        parse_model_architecture(ModelSpec(name="x", config={"hidden_size": 8, "num_hidden_layers": 1}), 300)


def test_load_pretrained_converts_half_precision_to_float32(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    spec = ModelSpec(name="tiny", config=TINY)
    build_model(spec, tokenizer, 0).half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_pretrained(str(tmp_path)).parameters()} == {torch.float32}
    saved = ModelSpec(name="saved", source=str(tmp_path))
    assert parse_model_architecture(saved, 0).parameters == parse_model_architecture(spec, len(tokenizer)).parameters
    before = compute_weights_fingerprint(saved)
    build_model(spec, tokenizer, 1).half().save_pretrained(tmp_path)
    assert compute_weights_fingerprint(saved) != before


def test_load_pretrained_and_fingerprint_name_what_is_missing(tmp_path: Path) -> None:
    for source in (str(tmp_path / "nothing"), str(tmp_path)):
        with pytest.raises(ModelError, match=str(tmp_path)):
            compute_weights_fingerprint(ModelSpec(name="x", source=source))
        with pytest.raises(ModelError, match=str(tmp_path)):
            parse_model_architecture(ModelSpec(name="x", source=source), 0)
        with pytest.raises(ModelError, match="save_pretrained"):
            load_pretrained(source)
    with pytest.raises(ModelError, match="gpt2"):
        count_parameters({"model_type": "gpt2"})
