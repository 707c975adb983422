"""Intervals where queries come in clusters, such as those that share a tool, and so are not independent."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, BoolArray, Codes
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval, clopper_pearson_interval, wilson_interval
from sweeper.statistics.paired import MIN_DISCORDANT_QUERIES, estimate_two_way_variance
from sweeper.statistics.paired_tests import keep_scored_rows


@dataclass(frozen=True)
class ClusteredDifference:
    """A mean difference with its interval over clusters; NaN where nothing is scored."""

    estimate: float
    interval: Interval
    standard_error: float
    """NaN with one cluster."""
    design_effect: float
    """The queries' share of the variance over that of independent queries."""
    n_queries: int
    n_clusters: int
    n_seeds: int
    n_dropped: int
    """Queries without a score in some seed."""


@dataclass(frozen=True)
class ClusteredRate:
    """A pass rate with its interval over clusters; NaN where nothing is scored."""

    rate: float
    interval: Interval
    design_effect: float
    """NaN where undefined."""
    effective: float
    """Effective number of queries."""
    n_queries: int
    n_clusters: int
    n_dropped: int
    """Queries without any score."""


def estimate_clustered_difference(
    differences: ArrayLike, clusters: Sequence[Hashable], alpha: float
) -> ClusteredDifference:
    """Estimate a mean difference with its interval over whole clusters of queries.

    The mean over queries is a ratio (sum of differences to number of queries, both by cluster); its linearized values
    by cluster and seed take the queries' place in `paired.estimate_two_way_variance`, hence clusters - 1 degrees of
    freedom (Cameron and Miller 2015, Journal of Human Resources 50). With one query per cluster this is
    `paired.compute_two_way_interval`, including its widening: where fewer than MIN_DISCORDANT_QUERIES clusters differ,
    to Clopper-Pearson's bounds on as many clusters of equal size as have the same weight (Kish 1965).

    Args:
        differences: (queries, seeds), each in -1..1; NaN = not scored.
        clusters: each query's label.
        alpha: the interval is at 1 - alpha.

    Returns:
        The estimate with its interval, its standard error, the design effect, and what was counted and dropped.

    Raises:
        DataError: another shape, or a query without a label.

    Example:
        >>> import numpy as np
        >>> differences = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
        >>> estimate_clustered_difference(differences, ["a", "b", "c", "d"], 0.05).estimate
        0.5
    """
    rows, is_kept = keep_scored_rows(differences, "clustered interval")
    sizes, codes = _encode_clusters(clusters, is_kept, "clustered interval")
    n_queries, n_seeds, n_clusters = len(rows), rows.shape[1], len(sizes)
    n_dropped = int((~is_kept).sum())
    if not n_queries:
        return ClusteredDifference(math.nan, UNDEFINED_INTERVAL, math.nan, math.nan, 0, n_clusters, 0, n_dropped)
    mean = float(rows.mean())
    low, high = mean, mean
    error = effect = math.nan
    if n_clusters > 1:
        linear = _sum_by_cluster(rows - mean, codes, n_clusters) * (n_clusters / n_queries)
        variance = estimate_two_way_variance(linear)
        half = float(variance.compute_half_width(alpha))
        low, high = max(-1.0, mean - half), min(1.0, mean + half)
        independent = float(rows.mean(axis=1).var(ddof=1)) / n_queries
        error = float(variance.standard_error)
        if independent > 0:
            effect = float(linear.mean(axis=1).var(ddof=1)) / n_clusters / independent
    if int(_find_clusters_with_any(rows != 0, codes, n_clusters).sum()) < MIN_DISCORDANT_QUERIES:
        effective = _compute_kish_size(sizes)
        better = float(sizes @ _find_clusters_with_any(rows > 0, codes, n_clusters)) / n_queries
        worse = float(sizes @ _find_clusters_with_any(rows < 0, codes, n_clusters)) / n_queries
        low = min(low, -clopper_pearson_interval(worse * effective, effective, alpha).high)
        high = max(high, clopper_pearson_interval(better * effective, effective, alpha).high)
    return ClusteredDifference(mean, Interval(low, high), error, effect, n_queries, n_clusters, n_seeds, n_dropped)


def estimate_clustered_rate(passed: ArrayLike, clusters: Sequence[Hashable], alpha: float) -> ClusteredRate:
    """Estimate one arm's pass rate with a Wilson interval on its effective number of queries.

    Effective queries are those of a simple random sample with the variance of the linearized ratio over clusters,
    reduced for few clusters by (z / t)^2 on clusters - 1 (Korn and Graubard 1998, Survey Methodology 24), and never
    more than there are. Where fewer than MIN_DISCORDANT_QUERIES clusters have a pass, or a failure, that variance is
    unknown: then no more than if clusters passed or failed as a whole (Kish 1965). Seeds are not resampled: the
    interval holds for these runs.

    Args:
        passed: (queries,) or (queries, seeds), values 0..1, NaN = not scored. A query's value is its mean over the
            seeds that scored it.
        clusters: each query's label.
        alpha: the interval is at 1 - alpha.

    Returns:
        The rate with its interval, the design effect, and the effective number of queries.

    Raises:
        DataError: another shape, other values, or a query without a label.

    Example:
        >>> estimate_clustered_rate([1, 1, 0, 0], ["a", "a", "b", "b"], 0.05).rate
        0.5
    """
    where = "clustered rate"
    table = np.asarray(passed, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2:
        raise DataError(where, requested="passes of shape (queries,) or (queries, seeds)", found=f"shape {table.shape}")
    if ((table < 0) | (table > 1)).any():
        raise DataError(where, requested="passes from 0 to 1, NaN where unscored", found="other values")
    is_kept = np.asarray((~np.isnan(table)).any(axis=1), dtype=np.bool_)
    sizes, codes = _encode_clusters(clusters, is_kept, where)
    rows = np.nanmean(table[is_kept], axis=1) if is_kept.any() else np.zeros(0)
    n_queries, n_clusters, n_dropped = len(rows), len(sizes), int((~is_kept).sum())
    if not n_queries:
        return ClusteredRate(math.nan, UNDEFINED_INTERVAL, math.nan, math.nan, 0, n_clusters, n_dropped)
    rate = float(rows.mean())
    binomial = rate * (1 - rate) / n_queries
    design, effective = math.nan, float(n_queries)
    if n_clusters == n_queries:
        design = 1.0 if binomial > 0 else math.nan
    elif n_clusters > 1:
        sums = _sum_by_cluster((rows - rate)[:, None], codes, n_clusters)
        variance = float((sums**2).sum()) * n_clusters / (n_clusters - 1) / n_queries**2
        if variance > 0 and binomial > 0:
            design = variance / binomial
            few = scipy.special.ndtri(1 - alpha / 2) / scipy.special.stdtrit(n_clusters - 1, 1 - alpha / 2)
            effective = min(effective, n_queries / design * float(few) ** 2)
    mixed = (_find_clusters_with_any(ends[:, None], codes, n_clusters).sum() for ends in (rows > 0, rows < 1))
    if min(mixed) < MIN_DISCORDANT_QUERIES:
        effective = min(effective, _compute_kish_size(sizes))
    interval = wilson_interval(rate * effective, effective, alpha)
    return ClusteredRate(rate, interval, design, effective, n_queries, n_clusters, n_dropped)


def _encode_clusters(clusters: Sequence[Hashable], is_scored: BoolArray, where: str) -> tuple[Array, Codes]:
    """Return the number of kept queries of each cluster, and each kept query's cluster as 0, 1, ..."""
    labels = list(clusters)
    if len(labels) != len(is_scored):
        raise DataError(
            where, requested="one cluster label per query", found=f"{len(labels)} for {len(is_scored)} queries"
        )
    n_unlabeled = sum(label is None or label != label for label in labels)
    if n_unlabeled:
        raise DataError(
            where,
            requested="one cluster label per query",
            found=f"{n_unlabeled} queries without one",
            hint="name their cluster, or leave them out",
        )
    used = [label for label, keep in zip(labels, is_scored, strict=True) if keep]
    places = {label: place for place, label in enumerate(dict.fromkeys(used))}
    codes = np.array([places[label] for label in used], dtype=np.int64)
    return np.bincount(codes, minlength=len(places)).astype(np.float64), codes


def _sum_by_cluster(rows: Array, codes: Codes, n_clusters: int) -> Array:
    """Sum by cluster: (queries, seeds) -> (clusters, seeds)."""
    sums = np.zeros((n_clusters, rows.shape[1]))
    np.add.at(sums, codes, rows)
    return sums


def _find_clusters_with_any(rows: BoolArray, codes: Codes, n_clusters: int) -> BoolArray:
    """Return the mask of the clusters with a True in any query and seed."""
    has_any = np.zeros(n_clusters, dtype=np.bool_)
    has_any[codes[rows.any(axis=1)]] = True
    return has_any


def _compute_kish_size(sizes: Array) -> float:
    """Return the number of clusters of equal size that have the same weight."""
    return float(sizes.sum() ** 2 / (sizes**2).sum())
