"""FLOPs against hand-computed values and PyTorch's counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import TINY, TINY_NEOX, instantiate
from torch.utils.flop_counter import FlopCounterMode

from sweeper.errors import ModelError
from sweeper.models import (
    KNOWN_CONFIGS,
    compute_flops_per_token,
    compute_forward_flops,
    compute_train_flops,
)


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
    model = instantiate(config, attn_implementation="eager")  # the counter knows no formula for the CPU's fused one
    ids = torch.randint(3, 400, (2, length))
    with FlopCounterMode(display=False) as forward:
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # Biases and norms are in N and cost no matrix product: about 1 % at this width, less at any real one.
    assert compute_forward_flops(config, 2 * length, length) == pytest.approx(forward.get_total_flops(), rel=0.02)
    both = forward.get_total_flops() + backward.get_total_flops()
    assert compute_train_flops(config, 2 * length, length) == pytest.approx(both, rel=0.02)
