"""The pass rate as a function of the loss: ceiling / (1 + exp(slope (loss - midpoint))).

A pass rate is flat at 0 until a model is good enough, and so cannot be extrapolated against size; the loss falls
smoothly, and the pass rate follows it (Bhagia et al. 2024, arXiv 2412.04403; DataDecide, arXiv 2504.11393).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from sweeper.statistics.aliases import Array

TRANSITION = (0.1, 0.9)
"""Pass rates between which a sigmoid shows its slope and its midpoint."""
MIN_IN_TRANSITION = 2
"""Arms that must lie in the transition: a slope and a midpoint cannot be read from fewer."""
_GRID_POINTS, _ZOOM_POINTS, _ZOOMS = 20, 7, 10
_SLOPES = (0.5, 60.0)
"""Bounds of the slope, in units of the inverse range of the losses."""


@dataclass(frozen=True)
class LossLink:
    """A fitted sigmoid and its bootstrap draws; the fit itself is at place 0. Each (1 + draws,)."""

    ceiling: Array
    """The pass rate at a loss far below the midpoint, at most 1."""
    slope: Array
    """Per nat; positive."""
    midpoint: Array
    """Nats."""

    @property
    def parameters(self) -> dict[str, float]:
        """The fit's parameters."""
        return {name: float(getattr(self, name)[0]) for name in ("ceiling", "slope", "midpoint")}

    def predict(self, losses: Array) -> Array:
        """Predict the pass rate at the loss of the fit and of every draw, (1 + draws,)."""
        predicted: Array = self.ceiling * scipy.special.expit(self.slope * (self.midpoint - losses))
        return predicted


def find_link_problem(losses: Array, rates: Array) -> str:
    """Return why no sigmoid can be read from arms; '' where one can.

    Args:
        losses: (arms,) mean losses.
        rates: (arms,) mean pass rates.

    Example:
        >>> find_link_problem(np.array([1.2, 1.1, 1.0]), np.array([0.0, 0.01, 0.02]))
        'no arm passes more than 10 %: below the transition a pass rate cannot be predicted from the loss'
    """
    low, high = TRANSITION
    inside = int(((rates > low) & (rates < high)).sum())
    if inside >= MIN_IN_TRANSITION:
        return "" if np.ptp(losses) > 0 else "all arms have the same loss"
    if not (rates > low).any():
        side = f"no arm passes more than {100 * low:g} %: below"
    elif not (rates < high).any():
        side = f"no arm passes less than {100 * high:g} %: above"
    else:
        arms = f"{inside} arm{'s' * (inside != 1)} passes" if inside == 1 else f"{inside} arms pass"
        return f"{arms} {100 * low:g} to {100 * high:g} %, and a sigmoid needs {MIN_IN_TRANSITION} in its transition"
    return f"{side} the transition a pass rate cannot be predicted from the loss"


def fit_loss_link(losses: Array, rates: Array, counts: Array) -> LossLink:
    """Fit the sigmoid by least squares to every sample of mean losses and pass rates.

    Given slope and midpoint the ceiling is linear, so that only these two are searched, for all samples at once.

    Args:
        losses: (samples, arms) mean losses, in nats; the first sample is the observed one.
        rates: (samples, arms) mean pass rates.
        counts: (arms,) runs of each arm.

    Returns:
        The fits.

    Example:
        >>> loss = np.array([[1.4, 1.2, 1.0, 0.8]])
        >>> link = fit_loss_link(loss, 0.9 / (1 + np.exp(8 * (loss - 1.1))), np.full(4, 3))
        >>> round(link.parameters["midpoint"], 2)
        1.1
    """
    span = float(np.ptp(losses[0]))
    low, high = float(losses[0].min()) - span, float(losses[0].max()) + span
    bounds = np.array([[low, math.log(_SLOPES[0] / span)], [high, math.log(_SLOPES[1] / span)]])
    axes = [np.linspace(bounds[0, k], bounds[1, k], _GRID_POINTS) for k in range(2)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    points = np.broadcast_to(grid, (len(losses), *grid.shape))
    step = np.array([axis[1] - axis[0] for axis in axes])
    around = np.linspace(-1, 1, _ZOOM_POINTS)
    steps = np.stack(np.meshgrid(around, around, indexing="ij"), axis=-1).reshape(-1, 2)
    rows = np.arange(len(losses))
    for _ in range(_ZOOMS):
        _, squares = _fit_ceiling(points, losses, rates, counts)
        best = points[rows, squares.argmin(axis=1)]
        points = np.clip(best[:, None, :] + step * steps, bounds[0], bounds[1])
        step = step / 2
    ceiling, squares = _fit_ceiling(points, losses, rates, counts)
    place = squares.argmin(axis=1)
    midpoint, log_slope = points[rows, place].T
    return LossLink(ceiling[rows, place], np.exp(log_slope), midpoint)


def _fit_ceiling(points: Array, losses: Array, rates: Array, counts: Array) -> tuple[Array, Array]:
    """Return the ceiling and the sum of squares for given midpoints and log slopes, (samples, points)."""
    curve = scipy.special.expit(np.exp(points[..., 1, None]) * (points[..., 0, None] - losses[:, None, :]))
    rates = rates[:, None, :]
    squares = (counts * curve**2).sum(axis=-1)
    ceiling = np.clip((counts * curve * rates).sum(axis=-1) / np.maximum(squares, 1e-12), 0, 1)
    return ceiling, (counts * (rates - ceiling[..., None] * curve) ** 2).sum(axis=-1)
