"""The search for two parameters of many samples at once, where all other parameters follow from these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sweeper.statistics.aliases import Array

_ZOOM_POINTS, _ZOOMS = 5, 12


def search_two_parameters(
    compute_loss: Callable[[Array], Array], n_samples: int, low: Array, high: Array, n_points: tuple[int, int]
) -> Array:
    """Search the minimum over a grid, then over finer grids around the best point so far; each halves the step.

    Args:
        compute_loss: points (samples, points, 2) -> losses (samples, points).
        n_samples: number of samples.
        low: smallest value of both parameters, (2,).
        high: largest value of both, (2,).
        n_points: values of each on the first grid; with one, a parameter stays at its smallest value.

    Returns:
        The best point of each sample, (samples, 2).

    Example:
        >>> truth = np.array([[0.3, 0.7]])
        >>> def compute_loss(points):
        ...     return ((points - truth[:, None, :]) ** 2).sum(axis=-1)
        >>> search_two_parameters(compute_loss, 1, np.zeros(2), np.ones(2), (9, 9)).round(3)
        array([[0.3, 0.7]])
    """
    axes = [np.linspace(low[k], high[k], n_points[k]) for k in range(2)]
    points = np.broadcast_to(_combine(*axes), (n_samples, n_points[0] * n_points[1], 2))
    step = np.array([axis[1] - axis[0] if len(axis) > 1 else 0.0 for axis in axes])
    around = np.linspace(-1, 1, _ZOOM_POINTS)
    offsets = _combine(*(around if n > 1 else np.zeros(1) for n in n_points))
    rows = np.arange(n_samples)
    for _ in range(_ZOOMS):
        best = points[rows, compute_loss(points).argmin(axis=1)]
        points = np.clip(best[:, None, :] + step * offsets, low, high)
        step = step / 2
    return np.asarray(points[rows, compute_loss(points).argmin(axis=1)])


def _combine(first: Array, second: Array) -> Array:
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
