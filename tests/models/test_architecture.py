"""Dimensions of a model, read from its config."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_models import TINY, TINY_NEOX

from sweeper.config import EngineSpec, find_sweep, load_sweep
from sweeper.errors import ModelError
from sweeper.models import KNOWN_CONFIGS, Architecture, estimate_training_memory
from sweeper.models.architecture import check_layer_count


def test_architecture_reads_the_fields_of_each_family() -> None:
    opt = Architecture.parse(KNOWN_CONFIGS["facebook/opt-350m"])
    assert (opt.family, opt.hidden_size, opt.embedding_width, opt.has_projections) == ("opt", 1024, 512, True)
    assert (opt.has_final_norm, opt.has_tied_embeddings, opt.position_table_rows) == (False, True, 2050)
    neox = Architecture.parse(KNOWN_CONFIGS["EleutherAI/pythia-70m"])
    assert (neox.family, neox.feed_forward_width, neox.has_projections) == ("gpt_neox", 2048, False)
    assert (neox.has_final_norm, neox.has_tied_embeddings, neox.position_table_rows) == (True, False, 0)


def test_architecture_without_a_model_type_is_an_opt() -> None:
    assert Architecture.parse(TINY | {"vocab_size": 300}).family == "opt"


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"model_type": "llama"}, "unsupported model_type llama"),
        (TINY, "a config without `vocab_size`"),
        (TINY | {"vocab_size": 300, "ffn_dim": None}, "a config without `ffn_dim`"),
        (TINY_NEOX | {"vocab_size": 300, "intermediate_size": None}, "a config without `intermediate_size`"),
        (TINY | {"vocab_size": 300, "num_hidden_layers": 10**9}, "`num_hidden_layers: 1000000000`"),
        (TINY | {"vocab_size": 300, "hidden_size": -8}, "`hidden_size: -8`"),
        (TINY | {"vocab_size": 10**5_000}, "`vocab_size: a number of over 18 digits`"),
        (TINY | {"vocab_size": 300, "num_attention_heads": "4"}, "`num_attention_heads: 4`"),
    ],
)
def test_architecture_refuses_unknown_families_and_missing_fields(config: dict[str, Any], found: str) -> None:
    with pytest.raises(ModelError) as failure:
        Architecture.parse(config)
    assert failure.value.found == found


def test_memory_refuses_an_attention_that_is_not_modeled() -> None:
    config = KNOWN_CONFIGS["facebook/opt-125m"] | {"attn_implementation": "flex_attention"}
    recipe = load_sweep(find_sweep("quickstart")).recipe
    with pytest.raises(ModelError, match="flex_attention"):
        estimate_training_memory(config, recipe, EngineSpec(name="single"), workers=1, micro_batch=1, length=8)


def test_layer_counts_of_any_architecture_are_checked() -> None:
    check_layer_count({"model_type": "gpt2", "n_layer": 48}, "model x")
    with pytest.raises(ModelError, match="model x") as failure:
        check_layer_count({"model_type": "gpt2", "n_layer": 10**9}, "model x")
    assert failure.value.hint == "1 to 10,000"
