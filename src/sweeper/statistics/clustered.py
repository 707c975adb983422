"""Intervals where queries come in clusters, such as those that share a tool, and so are not independent."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array, BoolArray, Codes
from sweeper.statistics.intervals import clopper_pearson_interval, wilson_interval
from sweeper.statistics.paired import MIN_DISCORDANT_QUERIES, estimate_two_way_variance
from sweeper.statistics.paired_tests import keep_scored_rows


def estimate_clustered_difference(differences: ArrayLike, clusters: Sequence[Hashable], alpha: float) -> dict[str, Any]:
    """Interval at 1 - alpha for the mean of `differences` (queries, seeds), each in -1..1, were whole clusters drawn.

    `clusters`: each query's label. The mean over queries is a ratio (sum of differences to number of queries, both
    by cluster); its linearised values by cluster and seed take the queries' place in `paired.two_way_spread`, hence
    clusters - 1 degrees of freedom (Cameron and Miller 2015, Journal of Human Resources 50). With a query to each
    cluster this is `paired.two_way_interval`, its widening included: where fewer than SPARSE clusters differ, to
    Clopper-Pearson's bounds on as many clusters of equal size as weigh the same (Kish 1965). Queries without a score
    in some seed are left out.

    Returns `estimate`, `interval` [low, high], `standard_error` (NaN with one cluster), `design_effect` (the queries'
    share of the variance against that of independent queries), `n_queries`, `n_clusters`, `n_seeds` and
    `dropped`; NaN where nothing is scored. Raises DataError for other shapes and for a query without a label.
    """
    rows, kept = keep_scored_rows(differences, "clustered interval")
    sizes, codes = _encode_clusters(clusters, kept, "clustered interval")
    n_queries, n_seeds, n_clusters = len(rows), rows.shape[1], len(sizes)
    found: dict[str, Any] = {
        "estimate": math.nan,
        "interval": [math.nan, math.nan],
        "standard_error": math.nan,
        "design_effect": math.nan,
        "n_queries": n_queries,
        "n_clusters": n_clusters,
        "n_seeds": n_seeds if n_queries else 0,
        "dropped": int((~kept).sum()),
    }
    if not n_queries:
        return found
    mean = float(rows.mean())
    low, high = mean, mean
    if n_clusters > 1:
        linear = _sum_by_cluster(rows - mean, codes, n_clusters) * (n_clusters / n_queries)
        spread = estimate_two_way_variance(linear)
        half = float(spread.compute_half_width(alpha))
        low, high = max(-1.0, mean - half), min(1.0, mean + half)
        alone = float(rows.mean(axis=1).var(ddof=1)) / n_queries
        effect = float(linear.mean(axis=1).var(ddof=1)) / n_clusters / alone if alone > 0 else math.nan
        found |= {"standard_error": float(spread.standard_error), "design_effect": effect}
    if int(_find_clusters_with_any(rows != 0, codes, n_clusters).sum()) < MIN_DISCORDANT_QUERIES:
        effective = _kish_effective_size(sizes)
        better = float(sizes @ _find_clusters_with_any(rows > 0, codes, n_clusters)) / n_queries
        worse = float(sizes @ _find_clusters_with_any(rows < 0, codes, n_clusters)) / n_queries
        low = min(low, -clopper_pearson_interval(worse * effective, effective, alpha).high)
        high = max(high, clopper_pearson_interval(better * effective, effective, alpha).high)
    return found | {"estimate": mean, "interval": [low, high]}


def estimate_clustered_rate(passed: ArrayLike, clusters: Sequence[Hashable], alpha: float) -> dict[str, Any]:
    """One arm's pass rate with a Wilson interval at 1 - alpha on its effective number of queries.

    `passed`: (queries,) or (queries, seeds), values 0..1, NaN = not scored; a query's value is its mean over the seeds
    that scored it. Effective queries: those of a simple random sample with the variance of the linearised ratio over
    clusters, less for few clusters by (z / t)^2 on clusters - 1 (Korn and Graubard 1998, Survey Methodology 24), and
    never more than there are. Where fewer than SPARSE clusters have a pass, or a failure, that variance is unknown:
    then no more than if clusters passed or failed as a whole (Kish 1965). Seeds are not resampled: the interval holds
    for these runs.

    Returns `rate`, `interval` [low, high], `design_effect` (NaN where undefined), `effective`, `n_queries`,
    `n_clusters` and `dropped`. Raises DataError for other shapes, values, and a query without a label.
    """
    who = "clustered rate"
    table = np.asarray(passed, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2:
        raise DataError(who, requested="passes of shape (queries,) or (queries, seeds)", found=f"shape {table.shape}")
    if ((table < 0) | (table > 1)).any():
        raise DataError(who, requested="passes from 0 to 1, NaN where unscored", found="other values")
    kept = np.asarray((~np.isnan(table)).any(axis=1), dtype=np.bool_)
    sizes, codes = _encode_clusters(clusters, kept, who)
    rows = np.nanmean(table[kept], axis=1) if kept.any() else np.zeros(0)
    n_queries, n_clusters = len(rows), len(sizes)
    counts = {"n_queries": n_queries, "n_clusters": n_clusters, "dropped": int((~kept).sum())}
    if not n_queries:
        undefined = {"rate": math.nan, "interval": [math.nan] * 2, "design_effect": math.nan, "effective": math.nan}
        return undefined | counts
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
            few = float(scipy.special.ndtri(1 - alpha / 2) / scipy.special.stdtrit(n_clusters - 1, 1 - alpha / 2)) ** 2
            effective = min(effective, n_queries / design * few)
    mixed = (_find_clusters_with_any(ends[:, None], codes, n_clusters).sum() for ends in (rows > 0, rows < 1))
    if min(mixed) < MIN_DISCORDANT_QUERIES:
        effective = min(effective, _kish_effective_size(sizes))
    interval = wilson_interval(rate * effective, effective, alpha)
    ends = {"rate": rate, "interval": [interval.low, interval.high], "design_effect": design, "effective": effective}
    return ends | counts


def _encode_clusters(clusters: Sequence[Hashable], is_scored: BoolArray, where: str) -> tuple[Array, Codes]:
    """How many kept queries each cluster has, and each kept query's cluster as 0, 1, ..."""
    labels = list(clusters)
    if len(labels) != len(is_scored):
        raise DataError(
            where, requested="one cluster label per query", found=f"{len(labels)} for {len(is_scored)} queries"
        )
    unknown = sum(label is None or label != label for label in labels)
    if unknown:
        raise DataError(
            where,
            requested="one cluster label per query",
            found=f"{unknown} queries without one",
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
    """Clusters with a True in any query and seed."""
    found = np.zeros(n_clusters, dtype=np.bool_)
    found[codes[rows.any(axis=1)]] = True
    return found


def _kish_effective_size(sizes: Array) -> float:
    """Clusters of equal size that weigh the same as these."""
    return float(sizes.sum() ** 2 / (sizes**2).sum())
