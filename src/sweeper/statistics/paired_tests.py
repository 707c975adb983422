"""Tests of two paired arms: McNemar's for one pair of runs, sign flips for several seeds.

They cross-check the interval of `paired.estimate_paired_difference`, which decides. Neither includes the spread between
training runs, so their null hypothesis is about these runs and not about the recipes behind them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # loads `scipy.stats`, which takes a second to import, when it is first used
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, BoolArray

SIGN_FLIPS = 10_000
"""Random sign flips; a p-value of 0.05 then has a Monte-Carlo standard error of 0.002."""
_BATCH_SIZE = 500


@dataclass(frozen=True)
class McNemarResult:
    """Result of McNemar's test: two-sided p-values of b ~ Binomial(b + c, 1/2)."""

    b: int
    """Queries that only the first run passes."""
    c: int
    """Queries that only the second run passes."""
    n: int
    """Pairs scored in both runs."""
    n_dropped: int
    """Pairs that are not."""
    p_exact: float
    """1 without a discordant pair, NaN without a pair."""
    p_mid: float
    """The same with half the probability of the observed table, which is less conservative."""


@dataclass(frozen=True)
class PermutationResult:
    """Result of a paired permutation test."""

    p: float
    """Two-sided; 1 if no query differs, NaN without a query."""
    is_exact: bool
    """Whether all sign flips were counted."""
    n: int
    """Queries used."""
    n_dropped: int
    """Queries without a score in some seed."""


def mcnemar_test(first: ArrayLike, second: ArrayLike) -> McNemarResult:
    """Test that two runs pass equally many queries (McNemar 1947).

    `p_mid` is recommended by Fagerland, Lydersen and Laake (2013, BMC Medical Research Methodology 13:91).

    Args:
        first: (queries,) passes of the first run: 0, 1 or NaN.
        second: those of the second run, in the same order.

    Returns:
        Exact and mid-p values, and the two counts of discordant queries.

    Raises:
        DataError: vectors of different lengths, or other values.

    Example:
        >>> mcnemar_test([1, 1, 1, 0], [0, 0, 1, 0]).p_exact
        0.5
    """
    vectors = [np.asarray(vector, dtype=np.float64) for vector in (first, second)]
    if vectors[0].shape != vectors[1].shape or vectors[0].ndim != 1:
        shapes = f"{vectors[0].shape} and {vectors[1].shape}"
        raise DataError("McNemar's test", requested="two vectors of one length", found=f"shapes {shapes}")
    is_scored = ~np.isnan(vectors[0]) & ~np.isnan(vectors[1])
    if not all(np.isin(vector[~np.isnan(vector)], (0.0, 1.0)).all() for vector in vectors):
        raise DataError("McNemar's test", requested="passes that are 0, 1 or NaN", found="other values")
    b = int((vectors[0][is_scored] > vectors[1][is_scored]).sum())
    c = int((vectors[0][is_scored] < vectors[1][is_scored]).sum())
    n = int(is_scored.sum())
    tail = 2 * float(scipy.stats.binom.cdf(min(b, c), b + c, 0.5))
    observed = float(scipy.stats.binom.pmf(b, b + c, 0.5))
    return McNemarResult(
        b=b,
        c=c,
        n=n,
        n_dropped=len(is_scored) - n,
        p_exact=min(1.0, tail) if n else math.nan,
        p_mid=min(1.0, tail - observed) if n else math.nan,
    )


def paired_permutation_test(
    differences: ArrayLike, rng: np.random.Generator, draws: int = SIGN_FLIPS
) -> PermutationResult:
    """Test that the mean of `differences` is 0 by flipping signs.

    A query's seeds stay together: under the null hypothesis, swapping both arms in all runs of a query changes nothing,
    so its mean changes sign (Fisher 1935; SciPy's `permutation_test`). All 2^k flips of the k queries that differ are
    counted where these are at most `draws`, otherwise `draws` random ones plus the observed one (Phipson and Smyth
    2010).

    Args:
        differences: (queries, seeds); queries without a score in some seed are left out.
        rng: source of the random draws.
        draws: sign flips.

    Returns:
        The two-sided p-value, and whether all flips were counted.

    Raises:
        DataError: another shape.

    Example:
        >>> import numpy as np
        >>> paired_permutation_test(np.array([[1.0], [1.0], [1.0], [0.0]]), np.random.default_rng(0)).p
        0.25
    """
    rows, is_kept = keep_scored_rows(differences, "permutation test")
    means = rows.mean(axis=1) if len(rows) else np.zeros(0)
    differing = means[means != 0]
    p, is_exact = (1.0 if len(rows) else math.nan), True
    if len(differing) > 1:
        result = scipy.stats.permutation_test(
            (differing,),
            lambda values, axis: values.sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=draws,
            batch=_BATCH_SIZE,
            rng=rng,
        )
        p, is_exact = float(result.pvalue), 2 ** len(differing) <= draws
    return PermutationResult(p, is_exact, len(rows), int((~is_kept).sum()))


def keep_scored_rows(differences: ArrayLike, where: str) -> tuple[Array, BoolArray]:
    """Return the rows of (queries, seeds) without NaN, and their mask.

    Raises:
        DataError: another shape; `where` names the caller.
    """
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise DataError(where, requested="differences of shape (queries, seeds)", found=f"shape {table.shape}")
    is_kept = np.asarray(~np.isnan(table).any(axis=1), dtype=np.bool_)
    return table[is_kept], is_kept
