"""Fused AdamW against PyTorch's plain one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_trial import read_history, train_tiny

from sweeper import data
from sweeper.training.optimizers.adamw_torch_fused import OPTIMIZER


@pytest.mark.slow
def test_fused_adamw_differs_only_by_rounding(prepared: data.PreparedData, tmp_path: Path) -> None:
    for optim in ("adamw_torch", "adamw_torch_fused"):
        record = train_tiny(prepared, tmp_path / optim, optim=optim)
        assert record.status == "COMPLETE", record.failure
    plain, fused = read_history(tmp_path / "adamw_torch"), read_history(tmp_path / "adamw_torch_fused")
    pd.testing.assert_frame_equal(plain, fused, rtol=1e-4)


def test_adamw_torch_fused_builds_pytorchs_fused_adamw(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, optim=OPTIMIZER.name, report_to="none")
    optimizer_class, keywords = Trainer.get_optimizer_cls_and_kwargs(args)
    optimizer = optimizer_class([torch.nn.Parameter(torch.ones(3))], **keywords)
    assert optimizer_class is torch.optim.AdamW
    assert optimizer.param_groups[0]["fused"]
