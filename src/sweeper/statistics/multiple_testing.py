"""Several claims of one report at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sweeper.errors import DataError


def holm_step_down(p_values: ArrayLike, alpha: float) -> dict[str, Any]:
    """Holm's step-down (1979): the chance of rejecting any true hypothesis stays below alpha, however they depend.

    `p_values`: (claims,), NaN = claim not tested: it stays NaN, is not rejected and not counted. Returns `adjusted`
    (claims,) p-values to be compared with alpha itself, `rejected` (claims,) bools, and `n`, the hypotheses counted.
    Raises DataError for values outside 0..1.
    """
    from statsmodels.stats.multitest import multipletests

    values = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    tested = ~np.isnan(values)
    if values.ndim != 1 or ((values < 0) | (values > 1)).any():
        raise DataError("Holm's step-down", requested="a vector of p-values from 0 to 1 or NaN", found="something else")
    adjusted, rejected = np.full(values.shape, np.nan), np.zeros(values.shape, dtype=np.bool_)
    if tested.any():
        rejected[tested], adjusted[tested], _, _ = multipletests(values[tested], alpha=alpha, method="holm")
    return {"adjusted": adjusted, "rejected": rejected, "n": int(tested.sum())}
