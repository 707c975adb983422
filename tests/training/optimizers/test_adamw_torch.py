"""AdamW as PyTorch implements it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeper.training.optimizers.adamw_torch import OPTIMIZER


def test_adamw_torch_is_pytorchs_adamw_with_decoupled_weight_decay(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, optim=OPTIMIZER.name, report_to="none")
    optimizer_class, keywords = Trainer.get_optimizer_cls_and_kwargs(args)
    assert optimizer_class is torch.optim.AdamW
    still, moving = torch.nn.Parameter(torch.tensor([2.0])), torch.nn.Parameter(torch.tensor([2.0]))
    still.grad, moving.grad = torch.tensor([0.0]), torch.tensor([5.0])
    optimizer = optimizer_class([still, moving], **keywords | {"lr": 0.1, "weight_decay": 0.5})
    assert not optimizer.param_groups[0]["fused"]
    optimizer.step()
    assert still.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5)), "weight decay acts without a gradient"
    assert moving.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1), "the first step has length learning_rate"
