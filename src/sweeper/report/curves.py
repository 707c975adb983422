"""A trial's history -> a curve of bounded length; the curves of many trials -> one band per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweeper.report.document import BandEntry, CurveEntry, LossBandEntry

if TYPE_CHECKING:
    import pandas as pd

MAX_CURVES = 300
"""Trials whose own curves are drawn; with more, each model is one band."""
N_BAND_POINTS = 100
BAND_QUANTILES = (0.1, 0.5, 0.9)
"""Lower end, median and upper end of every band in the report."""

Floats = NDArray[np.float64]


def downsample_history(history: pd.DataFrame, max_points: int) -> CurveEntry:
    """Average the training loss over at most `max_points` equal runs of logged steps; keep every validation loss.

    Returns:
        `step`, `loss`: last step and mean loss of each run of steps. `grad_norm`: its largest norm before clipping, so
        that spikes stay visible. `val_step`, `val_loss`: as measured. Numbers that are not finite are None.
    """
    columns = {name: _read_column(history, name) for name in ("step", "loss", "grad_norm", "val_loss")}
    is_training, is_validation = (~np.isnan(columns[name]) for name in ("loss", "val_loss"))
    steps, losses, norms = (columns[name][is_training] for name in ("step", "loss", "grad_norm"))
    curve: CurveEntry = {
        "step": [],
        "loss": [],
        "grad_norm": [],
        "val_step": columns["step"][is_validation].astype(int).tolist(),
        "val_loss": _round_values(columns["val_loss"][is_validation]),
    }
    if len(steps):
        n_parts = min(max_points, len(steps))
        # Equal parts, as `numpy.array_split` makes them.
        sizes = np.full(n_parts, len(steps) // n_parts) + (np.arange(n_parts) < len(steps) % n_parts)
        ends = sizes.cumsum()
        starts = ends - sizes
        max_norms = np.maximum.reduceat(np.where(np.isnan(norms), -np.inf, norms), starts)
        curve["step"] = steps[ends - 1].astype(int).tolist()
        curve["loss"] = _round_values(np.add.reduceat(losses, starts) / sizes)
        curve["grad_norm"] = _round_values(np.where(np.isneginf(max_norms), np.nan, max_norms))
    return curve


def compute_loss_bands(
    curves: Mapping[str, CurveEntry], model_by_fingerprint: Mapping[str, str]
) -> list[LossBandEntry]:
    """Summarize the training loss of all trials of a model as a median and a band over the trials that reach a step.

    Returns:
        One band per model; empty with at most `MAX_CURVES` curves, which are drawn one by one.
    """
    if len(curves) <= MAX_CURVES:
        return []
    groups: dict[str, list[CurveEntry]] = {}
    for fingerprint, curve in curves.items():
        if fingerprint in model_by_fingerprint and curve["step"]:
            groups.setdefault(model_by_fingerprint[fingerprint], []).append(curve)
    bands: list[LossBandEntry] = []
    for model, own_curves in groups.items():
        first, last = min(curve["step"][0] for curve in own_curves), max(curve["step"][-1] for curve in own_curves)
        grid = np.unique(np.linspace(first, last, N_BAND_POINTS).astype(int))
        lines = np.full((len(own_curves), len(grid)), np.nan)
        for line, curve in zip(lines, own_curves, strict=True):
            losses = np.array([np.nan if loss is None else loss for loss in curve["loss"]], dtype=float)
            line[:] = np.interp(grid, curve["step"], losses, left=np.nan, right=np.nan)
        is_reached = ~np.isnan(lines)
        is_kept = is_reached.any(axis=0)
        low, median, high = np.nanquantile(lines[:, is_kept], BAND_QUANTILES, axis=0)
        bands.append(
            {
                "model": model,
                "trials": len(own_curves),
                "step": grid[is_kept].tolist(),
                "low": _round_values(low),
                "median": _round_values(median),
                "high": _round_values(high),
                "reached_by": is_reached.sum(axis=0)[is_kept].tolist(),
            }
        )
    return bands


def compute_band(values: Sequence[float]) -> BandEntry:
    """Compute the median of finite values, and a band without their lowest and highest tenth."""
    if not values:
        return {"low": None, "median": None, "high": None}
    low, median, high = (float(value) for value in np.quantile(values, BAND_QUANTILES))
    return {"low": low, "median": median, "high": high}


def _read_column(history: pd.DataFrame, name: str) -> Floats:
    if name not in history.columns:
        return np.full(len(history), np.nan)
    return history[name].to_numpy(dtype=float, na_value=np.nan)


def _round_values(values: Floats | Sequence[float]) -> list[float | None]:
    """Round to five significant digits: a curve needs no more, and the page is smaller."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
