"""Arms -> curves of pass rate and validation loss against size, each with its caveat."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from sweeper.config.axes import format_arm_name
from sweeper.report.claim_document import AxisValue, Number
from sweeper.report.document import ArmEntry, FitEntry, get_axis, get_metric
from sweeper.statistics import fit_power_law, fit_quadratic
from sweeper.statistics.aliases import Array
from sweeper.statistics.fitted_curve import CurveFit

MAX_FIT_GROUPS = 6
"""Combinations of the other axes with curves of their own; with more, nothing is fitted, and the page says so."""
N_CURVE_POINTS = 40
SizeMeasure = Literal["parameters", "train_flops"]
Metric = Literal["pass_rate", "val_loss"]
METRICS: tuple[Metric, ...] = ("pass_rate", "val_loss")
SIZE_MEASURES: tuple[SizeMeasure, ...] = ("parameters", "train_flops")
_ASYMPTOTE_BOUNDS: dict[Metric, tuple[float, float]] = {"pass_rate": (0.0, 1.0), "val_loss": (0.0, math.inf)}
_BEST: dict[Metric, Literal["max", "min"]] = {"pass_rate": "max", "val_loss": "min"}


def fit_size_curves(arms: Sequence[ArmEntry], varying_axes: Sequence[str]) -> list[FitEntry]:
    """Fit a saturating power law and a quadratic in log size to every seed's pass rate and validation loss.

    There is one pair of curves per metric, measure of size (parameters or training FLOPs) and combination of the other
    axes. Random draws are seeded by the fit's name.

    Returns:
        Empty with one size, and with more than `MAX_FIT_GROUPS` combinations.
    """
    others = [axis for axis in varying_axes if axis != "model"]
    groups: dict[tuple[AxisValue, ...], list[ArmEntry]] = {}
    for arm in arms:
        groups.setdefault(tuple(get_axis(arm, axis) for axis in others), []).append(arm)
    if len(groups) > MAX_FIT_GROUPS:
        return []
    fits = []
    for values, own in groups.items():
        axes = dict(zip(others, values, strict=True))
        for metric in METRICS:
            for size in SIZE_MEASURES:
                fits += _fit_curves(own, axes, metric, size)
    return fits


def _fit_curves(
    arms: Sequence[ArmEntry], axes: dict[str, AxisValue], metric: Metric, size: SizeMeasure
) -> list[FitEntry]:
    """Fit both curves to the runs of one combination of the other axes; empty with fewer than two sizes."""
    sizes, values = _collect_points(arms, metric, size)
    if len(set(sizes)) < 2:
        return []
    group = " · ".join(format_arm_name(axis, value) for axis, value in axes.items())
    grid = np.geomspace(min(sizes), max(sizes), N_CURVE_POINTS)
    seed = zlib.crc32(f"{group} {metric} {size}".encode())
    place: dict[str, object] = {"group": group, "axes": axes, "metric": metric, "size": size}
    largest = max(sizes)
    earlier = [run for run in zip(sizes, values, strict=True) if run[0] < largest]
    observed = float(np.mean([value for own, value in zip(sizes, values, strict=True) if own == largest]))
    fits = []
    for fit_curve in (_fit_power_law, _fit_quadratic):
        fit = fit_curve(sizes, values, metric, grid, seed)
        before = fit_curve([run[0] for run in earlier], [run[1] for run in earlier], metric, np.array([largest]), seed)
        backtest = {"size": largest, "predicted": float(before.curve.value[0]), "observed": observed}
        fits.append(cast(FitEntry, place | fit.to_json() | {"backtest": backtest}))
    return fits


def _fit_power_law(sizes: list[float], values: list[float], metric: Metric, grid: Array, seed: int) -> CurveFit:
    rng = np.random.default_rng(seed)
    return fit_power_law(sizes, values, rng=rng, asymptote=_ASYMPTOTE_BOUNDS[metric], curve_sizes=grid)


def _fit_quadratic(sizes: list[float], values: list[float], metric: Metric, grid: Array, seed: int) -> CurveFit:
    return fit_quadratic(sizes, values, rng=np.random.default_rng(seed), best=_BEST[metric], curve_sizes=grid)


def _collect_points(arms: Sequence[ArmEntry], metric: Metric, size: SizeMeasure) -> tuple[list[float], list[float]]:
    """Collect size and value of every run that has both.

    A diverged run has no validation loss. The FLOPs of an arm are the mean of its runs', so that seeds of one size are
    one size.
    """
    sizes: list[float] = []
    values: list[float] = []
    for arm in arms:
        place = read_size(arm, size)
        if place is None or not 0 < place < math.inf:
            continue
        runs = [seed for seed in arm["seeds"] if metric == "pass_rate" or seed["status"] == "COMPLETE"]
        found = [get_metric(seed, metric) for seed in runs]
        own_values = [value for value in found if value is not None and math.isfinite(value)]
        sizes += [float(place)] * len(own_values)
        values += own_values
    return sizes, values


def read_size(arm: ArmEntry, size: str) -> Number:
    """Read the size of an arm's model: parameters, or the training FLOPs of a run."""
    return arm["parameters"] if size == "parameters" else arm["cost"]["train_flops"]
