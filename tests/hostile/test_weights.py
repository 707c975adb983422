"""Checkpoints whose weights are no numbers: an evaluation ends with one line, and not with a score of 0 %."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import warm
from scripted_agents import DATA

from sweeper import data
from sweeper.config import ModelSpec
from sweeper.models import build_model

SIZES = {"hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64}
MODEL = ModelSpec(name="tiny", config=SIZES | {"max_position_embeddings": 400, "dropout": 0.0, "init_std": 0.08})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The tokenizer of a tiny checkpoint."""
    return data.prepare_data(DATA, MODEL, tmp_path_factory.mktemp("store")).load_tokenizer()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(float("nan"), "NaN or infinite weights in 1 tensors", id="NaN"),
        pytest.param(float("inf"), "NaN or infinite weights in 1 tensors", id="infinite"),
        pytest.param(3e38, "logits that are NaN or infinite", id="so large that the forward pass overflows"),
    ],
)
@pytest.mark.parametrize("temperature", [0, 1])
def test_weights_that_give_no_answers_fail_the_evaluation(
    value: float, message: str, temperature: int, tokenizer: object, tmp_path: Path
) -> None:
    model = build_model(MODEL, tokenizer, 0)
    with torch.no_grad():
        model.model.decoder.layers[1].fc2.weight[:] = value
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")  # type: ignore[attr-defined]
    before = sorted(tmp_path.rglob("*"))
    settings = ["--set", f"temperature={temperature}", "--set", "max_new_tokens=16"]
    out = ["--out", tmp_path / "out"]
    done = warm.sweeper("evaluate", tmp_path / "model", "--suite", "toolworld", *settings, *out, code=1)
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "out" / "summary.json").exists()
    assert [path for path in sorted(tmp_path.rglob("*")) if "out" not in path.parts] == before
