"""A recipe in the trainer's and DeepSpeed's own configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_engines import ENGINES
from tiny_trial import RECIPE, make_wsd_spec, read_history, train_spec

from sweeper import data
from sweeper.config import EngineSpec
from sweeper.storage import Store
from sweeper.training.sft_config import make_deepspeed_config


@pytest.mark.slow
def test_learning_rate_stays_at_its_peak_then_decays_linearly(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = train_spec(prepared, store, "f", make_wsd_spec(2, decay_fraction=0.5, warmup_steps=4))
    assert record.status == "COMPLETE", record.failure
    assert record.applied["decay"] == record.asked["decay"] == "linear over 8 of 16 steps"
    rates = read_history(store, "f").dropna(subset="loss")["learning_rate"].tolist()
    peak = RECIPE.learning_rate
    shares = [0, 0.25, 0.5, 0.75, *[1] * 4, *[1 - i / 8 for i in range(8)]]
    assert rates == pytest.approx([peak * share for share in shares])


def test_make_deepspeed_config_leaves_the_recipe_to_the_trainer() -> None:
    assert make_deepspeed_config(ENGINES["single"]) is make_deepspeed_config(ENGINES["ddp"]) is None
    config = make_deepspeed_config(ENGINES["zero3"])
    assert config is not None
    assert config["gradient_clipping"] == config["train_batch_size"] == "auto"
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_accumulation_steps"] == "auto"
    assert config["fp16"]["enabled"] == config["bf16"]["enabled"] == "auto"
    offloaded = make_deepspeed_config(EngineSpec(name="o", distributed=True, zero_stage=3, offload=True))
    assert offloaded is not None
    assert offloaded["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
