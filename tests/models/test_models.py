"""Sizes against instantiated models; loading and building as a trial does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from sweeper.config import DataSpec, ModelSpec, load_sweep
from sweeper.data import train_tokenizer
from sweeper.errors import ModelError, UsageError
from sweeper.models import (
    KNOWN_CONFIGS,
    build_model,
    compute_flops_per_token,
    compute_forward_flops,
    compute_train_flops,
    compute_weights_fingerprint,
    count_model_parameters,
    count_non_embedding_parameters,
    count_parameters,
    get_max_positions,
    interpolate_positions,
    load_pretrained,
    resolve_extended_positions,
)

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


def instantiated(config: dict[str, Any], **more: Any) -> Any:
    fields = dict(config)
    config_class, model_class = KINDS[fields.pop("model_type", "opt")]
    return model_class._from_config(config_class(**fields), **more)


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
        {**TINY_NEOX, "vocab_size": 300},
        {**TINY_NEOX, "vocab_size": 300, "attention_bias": False},
        {**TINY_NEOX, "vocab_size": 300, "tie_word_embeddings": True},
        {**TINY_NEOX, "vocab_size": 300, "use_parallel_residual": False, "intermediate_size": 24},
    ],
)
def test_counts_equal_instantiated_models(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = instantiated(config)
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())
    layers = model.gpt_neox if hasattr(model, "gpt_neox") else model.model.decoder
    tables = ("embed_tokens", "embed_positions", "embed_in")
    body = sum(p.numel() for name, p in layers.named_parameters() if not name.startswith(tables))
    assert count_non_embedding_parameters(config) == body


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


def test_known_configs_have_a_model_file_each() -> None:
    names = [source.split("/")[1] for source in KNOWN_CONFIGS]
    path = Path(__file__).resolve().parents[2] / "sweeps/quickstart.yaml"
    sweep = load_sweep(path, [f"axes.model=[{', '.join(names)}]", "claims=[]"])
    assert [sweep.models[name].source for name in names] == list(KNOWN_CONFIGS)


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
    assert count_model_parameters(spec, len(tokenizer)) == sum(p.numel() for p in first.parameters())


def test_tiny_pythia_is_built_trained_and_loaded(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    spec = ModelSpec(name="tiny", config=TINY_NEOX)
    model, again = build_model(spec, tokenizer, 0), build_model(spec, tokenizer, 0)
    assert isinstance(model, GPTNeoXForCausalLM)
    assert torch.equal(model.lm_head.weight, again.lm_head.weight)
    assert (model.config.eos_token_id, model.config.vocab_size) == (tokenizer.eos_token_id, len(tokenizer))
    assert count_model_parameters(spec, len(tokenizer)) == sum(p.numel() for p in model.parameters())
    model.save_pretrained(tmp_path)
    assert count_model_parameters(ModelSpec(name="saved", source=str(tmp_path)), 0) == count_model_parameters(
        spec, len(tokenizer)
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
        count_model_parameters(ModelSpec(name="x", config={"hidden_size": 8, "num_hidden_layers": 1}), 300)


def test_load_pretrained_converts_half_precision_to_float32(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    spec = ModelSpec(name="tiny", config=TINY)
    build_model(spec, tokenizer, 0).half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_pretrained(str(tmp_path)).parameters()} == {torch.float32}
    saved = ModelSpec(name="saved", source=str(tmp_path))
    assert count_model_parameters(saved, 0) == count_model_parameters(spec, len(tokenizer))
    before = compute_weights_fingerprint(saved)
    build_model(spec, tokenizer, 1).half().save_pretrained(tmp_path)
    assert compute_weights_fingerprint(saved) != before


def test_load_pretrained_and_fingerprint_name_what_is_missing(tmp_path: Path) -> None:
    for source in (str(tmp_path / "nothing"), str(tmp_path)):
        with pytest.raises(ModelError, match=str(tmp_path)):
            compute_weights_fingerprint(ModelSpec(name="x", source=source))
        with pytest.raises(ModelError, match=str(tmp_path)):
            count_model_parameters(ModelSpec(name="x", source=source), 0)
        with pytest.raises(ModelError, match="save_pretrained"):
            load_pretrained(source)
    with pytest.raises(ModelError, match="gpt2"):
        count_parameters({"model_type": "gpt2"})


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
    assert sum(p.numel() for p in model.parameters()) == count_model_parameters(spec, len(tokenizer), 63)
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


def test_flops_match_hand_computed_values() -> None:
    pythia = compute_flops_per_token(KNOWN_CONFIGS["EleutherAI/pythia-70m"], 2048)
    assert pythia.body == 6 * 18_915_328
    assert pythia.attention == 12 * 6 * 512 * 2048 == 75_497_472
    assert pythia.head == 6 * 50_304 * 512
    opt = compute_flops_per_token(KNOWN_CONFIGS["facebook/opt-350m"], 100)
    # 24 layers: 12 h^2 + 13 h each; 512-wide embeddings projected to 1,024 and back; post-norm, so no last norm
    assert opt.body == 6 * (24 * (12 * 1024**2 + 13 * 1024) + 2 * 512 * 1024)
    assert opt.attention == 12 * 24 * 1024 * 100
    assert opt.head == 6 * 50_272 * 512
    config = KNOWN_CONFIGS["facebook/opt-350m"]
    assert compute_train_flops(config, 1e9, 100) == 1e9 * opt.total == 3 * compute_forward_flops(config, 1e9, 100)
    with pytest.raises(ModelError, match="gpt2"):
        compute_flops_per_token({"model_type": "gpt2"}, 10)


@pytest.mark.parametrize(
    "config",
    [
        {**TINY, "hidden_size": 128, "word_embed_proj_dim": 128, "ffn_dim": 512, "vocab_size": 400},
        {**TINY, "hidden_size": 128, "word_embed_proj_dim": 64, "ffn_dim": 512, "vocab_size": 400},
        {**TINY_NEOX, "hidden_size": 128, "intermediate_size": 512, "vocab_size": 400},
    ],
    ids=["opt", "opt-projected", "gpt_neox"],
)
@pytest.mark.parametrize("length", [8, 32])
def test_flops_are_within_two_percent_of_pytorchs_count(config: dict[str, Any], length: int) -> None:
    model = instantiated(config, attn_implementation="eager")  # the counter knows no formula for the CPU's fused one
    ids = torch.randint(3, 400, (2, length))
    with FlopCounterMode(display=False) as forward:
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # Biases and norms are in N and cost no matrix product: about 1 % at this width, less at any real one.
    assert compute_forward_flops(config, 2 * length, length) == pytest.approx(forward.get_total_flops(), rel=0.02)
    both = forward.get_total_flops() + backward.get_total_flops()
    assert compute_train_flops(config, 2 * length, length) == pytest.approx(both, rel=0.02)
