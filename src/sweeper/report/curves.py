"""A trial's history -> a curve of bounded length; many trials' curves -> one band a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

MAX_CURVES = 300
"""Trials whose own curves are drawn; more become bands."""
BAND_POINTS = 100
BAND_QUANTILES = (0.1, 0.9)
"""Share of the trials below the lower and the upper end of a band."""


def downsample_history(history: pd.DataFrame, max_points: int) -> dict[str, list[Any]]:
    """Training loss as means over at most `points` equal runs of logged steps; every validation loss is kept.

    `step`, `loss`: last step and mean loss of each run of steps. `grad_norm`: the largest norm before clipping in it,
    so that spikes stay visible. `val_step`, `val_loss`: as measured. Not finite numbers are None.
    """
    columns = {name: _read_column(history, name) for name in ("step", "loss", "grad_norm", "val_loss")}
    trained, held_out = (~np.isnan(columns[name]) for name in ("loss", "val_loss"))
    steps, losses, norms = (columns[name][trained] for name in ("step", "loss", "grad_norm"))
    kept: dict[str, list[Any]] = {"step": [], "loss": [], "grad_norm": []}
    if len(steps):
        parts = min(max_points, len(steps))
        # Equal runs as `numpy.array_split` makes them.
        sizes = np.full(parts, len(steps) // parts) + (np.arange(parts) < len(steps) % parts)
        ends = sizes.cumsum()
        starts = ends - sizes
        largest = np.maximum.reduceat(np.where(np.isnan(norms), -np.inf, norms), starts)
        kept["step"] = steps[ends - 1].astype(int).tolist()
        kept["loss"] = _round_values(np.add.reduceat(losses, starts) / sizes)
        kept["grad_norm"] = _round_values(np.where(np.isinf(largest) & (largest < 0), np.nan, largest))
    return kept | {
        "val_step": columns["step"][held_out].astype(int).tolist(),
        "val_loss": _round_values(columns["val_loss"][held_out]),
    }


def compute_loss_bands(
    curves: Mapping[str, Mapping[str, Any]], model_by_fingerprint: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Training loss of all trials of a model, as median and band over those that reach a step: what is drawn instead of
    more than MOST_CURVES curves. `models`: fingerprint -> model. Empty for fewer curves."""
    if len(curves) <= MAX_CURVES:
        return []
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for name, curve in curves.items():
        if name in model_by_fingerprint and curve["step"]:
            groups.setdefault(model_by_fingerprint[name], []).append(curve)
    found = []
    for model, own in groups.items():
        last = max(curve["step"][-1] for curve in own)
        grid = np.unique(np.linspace(min(curve["step"][0] for curve in own), last, BAND_POINTS).astype(int))
        lines = np.full((len(own), len(grid)), np.nan)
        for line, curve in zip(lines, own, strict=True):
            losses = np.array([np.nan if loss is None else loss for loss in curve["loss"]], dtype=float)
            line[:] = np.interp(grid, curve["step"], losses, left=np.nan, right=np.nan)
        there = ~np.isnan(lines)
        kept = there.any(axis=0)
        low, median, high = np.nanquantile(lines[:, kept], [BAND_QUANTILES[0], 0.5, BAND_QUANTILES[1]], axis=0)
        found.append(
            {"model": model, "trials": len(own), "step": grid[kept].tolist()}
            | {"low": _round_values(low), "median": _round_values(median), "high": _round_values(high)}
            | {"reached_by": there.sum(axis=0)[kept].tolist()}
        )
    return found


def _read_column(history: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in history.columns:
        return np.full(len(history), np.nan)
    return history[name].to_numpy(dtype=float, na_value=np.nan)


def _round_values(values: NDArray[np.float64] | Sequence[float]) -> list[float | None]:
    """Five significant digits: a curve needs no more, and the page is smaller."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
