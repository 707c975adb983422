"""Bootstrap intervals that cross-check the closed forms, over queries and seeds or over clusters of queries."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, Codes
from sweeper.statistics.intervals import Interval

BOOTSTRAP_DRAWS = 2000
"""Each end of a 95 % interval then rests on 50 draws."""
_MAX_CELLS = 20_000_000


def bootstrap_two_way(
    values: ArrayLike, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = BOOTSTRAP_DRAWS
) -> tuple[Interval, float]:
    """Compute a percentile interval and standard error for a mean, resampling queries and seeds (Owen 2007).

    One fewer of each is drawn than there are, so that the variance of each margin is unbiased (Rao and Wu 1988). The
    limit of the variance is that of queries plus that of seeds plus the interaction's: with an interaction it is wider
    than `paired.estimate_two_way_variance`, which counts the interaction once. With few seeds the percentiles are too
    narrow, since no draw has a seed that was not run; verdicts therefore use `paired`. A single seed or query is not
    resampled.

    Args:
        values: (queries, seeds).
        rng: source of the random draws.
        alpha: the interval is at 1 - alpha.
        draws: bootstrap draws.

    Returns:
        The percentile interval and the standard error.

    Raises:
        DataError: a table that is empty or contains NaN.

    Example:
        >>> import numpy as np
        >>> differences = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], size=(50, 3))
        >>> interval, _ = bootstrap_two_way(differences, rng=np.random.default_rng(0))
        >>> bool(interval.low < differences.mean() < interval.high)
        True
    """
    table = np.asarray(values, dtype=np.float64)
    return _bootstrap_mean(table, np.arange(len(table)), rng, alpha, draws)


def bootstrap_clusters(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    rng: np.random.Generator,
    alpha: float = 0.05,
    draws: int = BOOTSTRAP_DRAWS,
) -> tuple[Interval, float]:
    """Compute the interval and standard error of a mean, resampling clusters of queries, such as those about one tool.

    The mean is over the queries drawn, so that a cluster's weight is its number of queries.

    Args:
        values: (queries, seeds).
        clusters: each query's label.
        rng: source of the random draws.
        alpha: the interval is at 1 - alpha.
        draws: bootstrap draws.

    Returns:
        The percentile interval and the standard error.

    Raises:
        DataError: an invalid table, or another number of labels than queries.

    Example:
        >>> import numpy as np
        >>> passed = np.array([[1, 1], [0, 1], [0, 0], [1, 0]], dtype=float)
        >>> interval, _ = bootstrap_clusters(passed, ["a", "a", "b", "b"], rng=np.random.default_rng(0))
        >>> bool(interval.low <= passed.mean() <= interval.high)
        True
    """
    table = np.asarray(values, dtype=np.float64)
    if len(clusters) != len(table):
        raise DataError(
            "cluster bootstrap", requested=f"a cluster for each of {len(table)} queries", found=f"{len(clusters)}"
        )
    names = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    return _bootstrap_mean(table, np.array([names[name] for name in clusters]), rng, alpha, draws)


def _bootstrap_mean(
    table: Array, cluster_codes: Codes, rng: np.random.Generator, alpha: float, draws: int
) -> tuple[Interval, float]:
    if table.ndim != 2 or not table.size or np.isnan(table).any():
        raise DataError("bootstrap", requested="(queries, seeds) without NaN", found=f"shape {table.shape}")
    sizes = np.bincount(cluster_codes).astype(np.float64)
    sums = np.stack([np.bincount(cluster_codes, column) for column in table.T], axis=1)
    means: list[Array] = []
    for start in range(0, draws, step := max(1, _MAX_CELLS // len(sizes))):
        some = min(step, draws - start)
        rows, columns = _draw_weights(len(sizes), some, rng), _draw_weights(table.shape[1], some, rng)
        means.append(((rows @ sums) * columns).sum(axis=1) / (rows @ sizes))
    drawn = np.concatenate(means)
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high)), float(drawn.std())


def _draw_weights(count: int, draws: int, rng: np.random.Generator) -> Array:
    """Return weights (draws, count), each row with the sum 1."""
    if count == 1:
        return np.ones((draws, 1))
    return rng.multinomial(count - 1, np.full(count, 1 / count), size=draws) / (count - 1)
