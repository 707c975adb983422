"""A trial's history -> a curve of bounded length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def downsample(history: pd.DataFrame, points: int) -> dict[str, list[Any]]:
    """Training loss as means over at most `points` equal runs of logged steps; every validation loss is kept.

    `step`, `loss`: last step and mean loss of each run of steps. `grad_norm`: the largest norm before clipping in it,
    so that spikes stay visible. `val_step`, `val_loss`: as measured. Not finite numbers are None.
    """
    trained = history.loc[history["loss"].notna()] if "loss" in history.columns else history.iloc[:0]
    held_out = history.loc[history["val_loss"].notna()] if "val_loss" in history.columns else history.iloc[:0]
    parts = np.array_split(np.arange(len(trained)), min(points, len(trained))) if len(trained) else []
    steps, losses = trained["step"].to_numpy(), trained["loss"].to_numpy(dtype=float) if len(trained) else np.array([])
    norms = (
        trained["grad_norm"].to_numpy(dtype=float) if "grad_norm" in trained.columns else np.full(len(trained), np.nan)
    )
    return {
        "step": [int(steps[part[-1]]) for part in parts],
        "loss": [_round(losses[part].mean()) for part in parts],
        "grad_norm": [_round(np.nanmax(norms[part])) if np.isfinite(norms[part]).any() else None for part in parts],
        "val_step": [int(step) for step in held_out["step"]],
        "val_loss": [_round(loss) for loss in held_out["val_loss"]],
    }


def _round(value: float) -> float | None:
    """Five significant digits: a curve needs no more, and the page is smaller."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
