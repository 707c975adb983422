"""Tests of two paired arms: McNemar's for one pair of runs, sign flips for several seeds.

They cross-check the interval of `paired.paired_difference`, which decides; neither sees the spread between training
runs, so their null hypothesis is about these runs and not about the recipes behind them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy  # its `stats` takes a second to import, and loads when it is first used
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, BoolArray

SIGN_FLIPS = 10_000
"""Random sign flips; a p-value of 0.05 then has a Monte-Carlo standard error of 0.002."""
_BATCH_SIZE = 500


def mcnemar_test(first: ArrayLike, second: ArrayLike) -> dict[str, Any]:
    """McNemar's test (1947) that two runs pass equally many queries, on two aligned vectors of 0, 1 and NaN.

    Returns `b` (only the first passes), `c` (only the second), `n` (pairs scored in both), `dropped` (pairs that are
    not), and the two-sided p-values of b ~ Binomial(b + c, 1/2): `p_exact`, and `p_mid`, which counts the observed
    table half and so is less conservative (Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91,
    who recommend it). Both are 1 without a discordant pair and NaN without a pair. Raises DataError for vectors of
    different lengths and for other values.
    """
    vectors = [np.asarray(vector, dtype=np.float64) for vector in (first, second)]
    if vectors[0].shape != vectors[1].shape or vectors[0].ndim != 1:
        shapes = f"{vectors[0].shape} and {vectors[1].shape}"
        raise DataError("McNemar's test", requested="two vectors of one length", found=f"shapes {shapes}")
    scored = ~np.isnan(vectors[0]) & ~np.isnan(vectors[1])
    if not all(np.isin(vector[~np.isnan(vector)], (0.0, 1.0)).all() for vector in vectors):
        raise DataError("McNemar's test", requested="passes that are 0, 1 or NaN", found="other values")
    b = int((vectors[0][scored] > vectors[1][scored]).sum())
    c = int((vectors[0][scored] < vectors[1][scored]).sum())
    n = int(scored.sum())
    tail = 2 * float(scipy.stats.binom.cdf(min(b, c), b + c, 0.5))
    observed = float(scipy.stats.binom.pmf(b, b + c, 0.5))
    return {
        "b": b,
        "c": c,
        "n": n,
        "dropped": len(scored) - n,
        "p_exact": min(1.0, tail) if n else math.nan,
        "p_mid": min(1.0, tail - observed) if n else math.nan,
    }


def paired_permutation_test(
    differences: ArrayLike, rng: np.random.Generator, draws: int = SIGN_FLIPS
) -> dict[str, Any]:
    """Two-sided paired permutation test that the mean of `differences` (queries, seeds) is 0.

    A query's seeds keep together: the null hypothesis is that swapping both arms' names in all runs of a query changes
    nothing, so its mean changes sign (Fisher 1935; SciPy's `permutation_test`). All 2^k flips of the k queries that
    differ are counted where these are at most `draws` (`exact`), else `draws` random ones, the observed one added
    (Phipson and Smyth 2010). Queries without a score in some seed are left out. Returns `p`, `exact`, `n` (queries
    used) and `dropped`; p is 1 if no query differs and NaN without a query. Raises DataError for another shape.
    """
    rows, kept = keep_scored_rows(differences, "permutation test")
    means = rows.mean(axis=1) if len(rows) else np.zeros(0)
    differing = means[means != 0]
    p, exact = (1.0 if len(rows) else math.nan), True
    if len(differing) > 1:
        found = scipy.stats.permutation_test(
            (differing,),
            lambda values, axis: values.sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=draws,
            batch=_BATCH_SIZE,
            rng=rng,
        )
        p, exact = float(found.pvalue), 2 ** len(differing) <= draws
    return {"p": p, "exact": exact, "n": len(rows), "dropped": int((~kept).sum())}


def keep_scored_rows(differences: ArrayLike, where: str) -> tuple[Array, BoolArray]:
    """The rows of (queries, seeds) without NaN, and which they are. Raises DataError, in the name of `who`, for another
    shape."""
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise DataError(where, requested="differences of shape (queries, seeds)", found=f"shape {table.shape}")
    kept = np.asarray(~np.isnan(table).any(axis=1), dtype=np.bool_)
    return table[kept], kept
