"""Correction for the several claims of one report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, BoolArray


@dataclass(frozen=True)
class HolmResult:
    """P-values corrected by Holm's step-down."""

    adjusted: Array
    """(claims,), to be compared with alpha itself; NaN where not tested."""
    rejected: BoolArray
    """(claims,)"""
    n: int
    """Hypotheses counted."""


def holm_step_down(p_values: ArrayLike, alpha: float) -> HolmResult:
    """Correct p-values by Holm's step-down (1979).

    The probability of rejecting any true hypothesis stays below alpha, however the hypotheses depend.

    Args:
        p_values: (claims,); NaN = not tested: it stays NaN, is not rejected and not counted.
        alpha: family-wise error level.

    Returns:
        Adjusted p-values, and whether each hypothesis is rejected.

    Raises:
        DataError: a value outside 0..1.

    Example:
        >>> holm_step_down([0.01, 0.04], 0.05).adjusted.tolist()
        [0.02, 0.04]
    """
    values = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    is_tested = ~np.isnan(values)
    if values.ndim != 1 or ((values < 0) | (values > 1)).any():
        raise DataError("Holm's step-down", requested="a vector of p-values from 0 to 1 or NaN", found="other values")
    # Not statsmodels' `multipletests`: it collects garbage at every call, which is most of the time of a simulation.
    order = np.argsort(values[is_tested])
    factors = np.arange(len(order), 0, -1)
    adjusted, stepped = np.full(values.shape, np.nan), np.empty(len(order))
    stepped[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[is_tested][order]))
    adjusted[is_tested] = stepped
    return HolmResult(adjusted, adjusted <= alpha, len(order))
