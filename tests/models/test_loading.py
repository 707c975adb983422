"""Building and loading models as a trial does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import TINY, TINY_NEOX
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

from sweeper.config import ModelSpec, load_data_spec
from sweeper.data import fingerprint_data
from sweeper.data.tokenizer import load_tokenizer
from sweeper.errors import ModelError
from sweeper.models import (
    build_model,
    compute_weights_fingerprint,
    count_parameters,
    find_hub_commit,
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


def test_fingerprint_of_an_adapter_contains_its_base(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder, name in ((base, "model.safetensors"), (adapter, "adapter_model.safetensors")):
        folder.mkdir()
        (folder / name).write_bytes(b"weights")
    config = adapter / "adapter_config.json"
    found = set()
    for rank, weights in ((8, b"one"), (8, b"other"), (16, b"other")):
        config.write_text(json.dumps({"r": rank, "base_model_name_or_path": str(base)}))
        (base / "model.safetensors").write_bytes(weights)
        found.add(compute_weights_fingerprint(ModelSpec(name="x", source=str(adapter))))
    assert len(found) == 3


@pytest.mark.parametrize("text", ['{"base_model_name_or_path": null}', "[]", "{", '{"base_model_name_or_path": "."}'])
def test_adapter_without_a_base_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_text(text)
    monkeypatch.chdir(tmp_path)  # so that the last one is its own base
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        compute_weights_fingerprint(ModelSpec(name="x", source=str(tmp_path)))


def test_hub_model_is_identified_and_loaded_by_its_cached_commit(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec, repository = ModelSpec(name="x", source="lab/tiny"), tmp_path / "models--lab--tiny"
    assert find_hub_commit("lab/tiny") is None
    assert find_hub_commit(str(tmp_path)) is None
    assert compute_weights_fingerprint(spec) == "hub:lab/tiny@unpinned"
    world = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 1}
    data = load_data_spec("toolworld", toolworld=world)
    fingerprints = {fingerprint_data(data, spec)}
    for seed, commit in enumerate(("a" * 40, "b" * 40)):
        built = build_model(ModelSpec(name="tiny", config=TINY), tokenizer, seed)
        built.save_pretrained(repository / "snapshots" / commit)
        tokenizer.save_pretrained(str(repository / "snapshots" / commit))
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
        assert compute_weights_fingerprint(spec) == f"hub:lab/tiny@{commit}"
        fingerprints.add(fingerprint_data(data, spec))
        loaded = load_pretrained("lab/tiny")
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), built.parameters(), strict=True))
        assert len(load_tokenizer(spec)) == len(tokenizer)
    assert len(fingerprints) == 3


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
