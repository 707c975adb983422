"""Numbers of positions, and their interpolation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import TINY, TINY_NEOX
from transformers import OPTConfig, PreTrainedTokenizerFast

from sweeper.config import DataSpec, ModelSpec
from sweeper.errors import UsageError
from sweeper.models import (
    build_model,
    count_positions,
    get_max_positions,
    interpolate_positions,
    load_pretrained,
    parse_model_architecture,
    resolve_extended_positions,
)


def test_interpolate_positions_keeps_the_old_positions(tokenizer: PreTrainedTokenizerFast) -> None:
    spec = ModelSpec(name="tiny", config=TINY)
    model = build_model(spec, tokenizer, 0)
    old = model.model.decoder.embed_positions.weight.detach().clone()
    interpolate_positions(model, 63)  # 31 gaps of 32 positions, each halved
    new = model.model.decoder.embed_positions.weight
    assert new.shape == (65, 16)
    assert torch.equal(new[:2], old[:2]), "the padding offset stays"
    torch.testing.assert_close(new[2::2], old[2:])
    torch.testing.assert_close(new[3::2], (old[2:-1] + old[3:]) / 2)
    assert sum(p.numel() for p in model.parameters()) == parse_model_architecture(spec, len(tokenizer), 63).parameters
    assert model(input_ids=torch.full((1, 63), 5)).logits.shape[1] == 63
    with pytest.raises(IndexError):
        model(input_ids=torch.full((1, 64), 5))


def test_stretched_model_loads_as_it_was_saved(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = interpolate_positions(build_model(ModelSpec(name="tiny", config=TINY), tokenizer, 0), 50)
    model.save_pretrained(tmp_path)
    again = load_pretrained(str(tmp_path))
    assert get_max_positions(ModelSpec(name="saved", source=str(tmp_path))) == 50
    ids = torch.arange(50)[None]
    torch.testing.assert_close(again.eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def test_resolve_extended_positions_checks_max_length() -> None:
    data = DataSpec(name="d", source="toolworld", api_format="signature", fold_steps=True, max_length=2049)
    opt = ModelSpec(name="opt-350m", source="facebook/opt-350m")
    with pytest.raises(UsageError, match=r"2,049(.|\n)*2,048"):
        resolve_extended_positions(opt, data)
    assert resolve_extended_positions(opt, data.model_copy(update={"extend_positions": "interpolate"})) == 2049
    assert resolve_extended_positions(opt, data.model_copy(update={"max_length": 2048})) is None
    assert (
        get_max_positions(ModelSpec(name="default", config={"hidden_size": 8})) == OPTConfig().max_position_embeddings
    )
    pythia = ModelSpec(name="pythia-1b", source="EleutherAI/pythia-1b")
    assert resolve_extended_positions(pythia, data.model_copy(update={"max_length": 2048})) is None
    with pytest.raises(UsageError, match=r"2,049(.|\n)*gpt_neox"):
        resolve_extended_positions(pythia, data.model_copy(update={"extend_positions": "interpolate"}))


def test_count_positions_counts_the_table_and_not_what_the_config_says(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_model(ModelSpec(name="tiny", config=TINY), tokenizer, 0)
    assert count_positions(model) == 32
    model.config.max_position_embeddings = 64
    assert count_positions(model) == 32
    assert count_positions(interpolate_positions(model, 64)) == 64
    rotary = build_model(ModelSpec(name="neox", config=TINY_NEOX), tokenizer, 0)
    assert count_positions(rotary) == 32, "no table: its config"
