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
from sweeper.statistics.profile_search import search_two_parameters

TRANSITION = (0.1, 0.9)
"""Pass rates between which a sigmoid shows its slope and its midpoint."""
MIN_IN_TRANSITION = 2
"""Arms that must lie in the transition: a slope and a midpoint cannot be read from fewer."""
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
        'no arm passes more than 10 %, and below this transition none can be predicted'
    """
    low, high = TRANSITION
    inside = int(((rates > low) & (rates < high)).sum())
    if inside >= MIN_IN_TRANSITION:
        return "" if np.ptp(losses) > 0 else "all arms have the same loss"
    if not (rates > low).any():
        return f"no arm passes more than {100 * low:g} %, and below this transition none can be predicted"
    if not (rates < high).any():
        return f"no arm passes less than {100 * high:g} %, and above this transition none can be predicted"
    return f"{MIN_IN_TRANSITION} arms that pass {100 * low:g} to {100 * high:g} % are needed, and there are {inside}"


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
    least = np.array([low, math.log(_SLOPES[0] / span)])
    most = np.array([high, math.log(_SLOPES[1] / span)])
    best = search_two_parameters(
        lambda points: _fit_ceiling(points, losses, rates, counts)[1], len(losses), least, most, (20, 20)
    )
    ceiling, _ = _fit_ceiling(best[:, None, :], losses, rates, counts)
    return LossLink(ceiling[:, 0], np.exp(best[:, 1]), best[:, 0])


def _fit_ceiling(points: Array, losses: Array, rates: Array, counts: Array) -> tuple[Array, Array]:
    """Return the ceiling and the sum of squares for given midpoints and log slopes, (samples, points)."""
    curve = scipy.special.expit(np.exp(points[..., 1, None]) * (points[..., 0, None] - losses[:, None, :]))
    rates = rates[:, None, :]
    squares = (counts * curve**2).sum(axis=-1)
    ceiling = np.clip((counts * curve * rates).sum(axis=-1) / np.maximum(squares, 1e-12), 0, 1)
    return ceiling, (counts * (rates - ceiling[..., None] * curve) ** 2).sum(axis=-1)
