"""Fused AdamW against PyTorch's plain one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_trial import read_history, train_tiny

from sweeper import data


@pytest.mark.slow
def test_fused_adamw_differs_only_by_rounding(prepared: data.PreparedData, tmp_path: Path) -> None:
    for optim in ("adamw_torch", "adamw_torch_fused"):
        record = train_tiny(prepared, tmp_path / optim, optim=optim)
        assert record.status == "COMPLETE", record.failure
    plain, fused = read_history(tmp_path / "adamw_torch"), read_history(tmp_path / "adamw_torch_fused")
    pd.testing.assert_frame_equal(plain, fused, rtol=1e-4)
