"""How a claim's error level is spread over its registered looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

MIN_LEVEL = 1e-6
"""Smallest level of a look: at a smaller one no affordable study decides anything."""


def spend_alpha(alpha: float, looks: Sequence[int], spend: Literal["obrien-fleming"] | Sequence[float]) -> list[float]:
    """Return the level of each look. They sum to alpha, so that the level holds over all looks, whatever the test.

    `obrien-fleming`: what the spending function of Lan and DeMets (1983, Biometrika 70:659), 2 - 2 Phi(z / sqrt(t)),
    adds at each look, with z the normal quantile of alpha / 2 and t the share of seeds: most of alpha at the last one.

    Args:
        alpha: two-sided level over all looks.
        looks: numbers of seeds, ascending.
        spend: `obrien-fleming`, or the levels themselves.

    Returns:
        Two-sided levels, one per look.

    Example:
        >>> [round(level, 4) for level in spend_alpha(0.05, [3, 6, 10], "obrien-fleming")]
        [0.0003, 0.0111, 0.0386]
    """
    if spend != "obrien-fleming":
        return [float(level) for level in spend]
    z = NormalDist().inv_cdf(1 - alpha / 2)
    # erfc(z / sqrt(2)) is the two-sided tail of the normal distribution, exact where it is tiny.
    spent = [math.erfc(z / math.sqrt(2 * seeds / looks[-1])) for seeds in looks[:-1]]
    return [after - before for before, after in zip([0.0, *spent], [*spent, alpha], strict=True)]
