"""The arms -> curves of pass rate and validation loss against size, each with what it cannot carry."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeper.config.axes import format_arm_name
from sweeper.statistics import fit_power_law, fit_quadratic

MAX_FIT_GROUPS = 6
"""Combinations of the other axes that get curves of their own; beyond them nothing is fitted, and the page says so."""
FIT_CURVE_POINTS = 40


def fit_size_curves(arms: Sequence[Mapping[str, Any]], varying_axes: Sequence[str]) -> list[dict[str, Any]]:
    """A saturating power law and a quadratic in log size of every seed's pass rate and validation loss, against
    parameters and against training FLOPs; for every combination of the other axes.

    Each: `group` (its name, and `axes`), `metric`, `size` (parameters or train_flops), and what the fit returned. Empty
    with one size, and with more than MOST_GROUPS combinations. Draws are seeded by the fit's own name.
    """
    others = [axis for axis in varying_axes if axis != "model"]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for arm in arms:
        groups.setdefault(tuple(arm[axis] for axis in others), []).append(arm)
    if len(groups) > MAX_FIT_GROUPS:
        return []
    found = []
    for place, own in groups.items():
        group = " · ".join(format_arm_name(axis, value) for axis, value in zip(others, place, strict=True))
        for metric in ("pass_rate", "val_loss"):
            for size in ("parameters", "train_flops"):
                sizes, values = _collect_points(own, metric, size)
                if len(set(sizes)) < 2:
                    continue
                low, high = min(sizes), max(sizes)
                grid = np.geomspace(low, high, FIT_CURVE_POINTS)
                seed = zlib.crc32(f"{group} {metric} {size}".encode())
                asymptote = (0.0, 1.0) if metric == "pass_rate" else (0.0, math.inf)
                made = (
                    fit_power_law(
                        sizes, values, rng=np.random.default_rng(seed), asymptote=asymptote, curve_sizes=grid
                    ),
                    fit_quadratic(
                        sizes,
                        values,
                        rng=np.random.default_rng(seed),
                        best="max" if metric == "pass_rate" else "min",
                        curve_sizes=grid,
                    ),
                )
                where = {"group": group, "axes": dict(zip(others, place, strict=True)), "metric": metric, "size": size}
                found += [where | fit.to_json() for fit in made]
    return found


def _collect_points(arms: Sequence[Mapping[str, Any]], metric: str, size: str) -> tuple[list[float], list[float]]:
    """Size and value of every run that has both. A diverged run has no validation loss. FLOPs of an arm are the mean of
    its runs', so that seeds of one size are one size."""
    sizes: list[float] = []
    values: list[float] = []
    for arm in arms:
        runs = [s for s in arm["seeds"] if metric == "pass_rate" or s["status"] == "COMPLETE"]
        where = arm["parameters"] if size == "parameters" else arm["cost"]["train_flops"]
        own = [s[metric] for s in runs if s[metric] is not None and math.isfinite(s[metric])]
        if where is None or not where > 0 or not math.isfinite(where):
            continue
        sizes += [float(where)] * len(own)
        values += own
    return sizes, values
