"""The difference in pass rate of the same runs between two samples of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweeper.claims.available_cases import select_available_scores
from sweeper.claims.interval_estimates import (
    UNWIDENED,
    IntervalEstimate,
    VarianceComponents,
    make_undefined_estimate,
    predict_two_way_variance,
)
from sweeper.claims.probability import make_normal_posterior
from sweeper.statistics.aliases import Array, BoolArray
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval, clopper_pearson_interval
from sweeper.statistics.paired import (
    MIN_DISCORDANT_QUERIES,
    Exclusions,
    VarianceEstimate,
    average_by_key,
    combine_crossed_variances,
    marginal_variances,
)

if TYPE_CHECKING:
    import pandas as pd


def estimate_two_sample_difference(
    matrix: pd.DataFrame,
    runs: Sequence[tuple[int, str]],
    first: BoolArray,
    second: BoolArray,
    clusters: Sequence[str] | None = None,
) -> IntervalEstimate:
    """Estimate the rate of the same runs on one sample of queries minus that on another.

    The seeds are the same on both sides, so the variance over seeds is that of the difference and not of either side: a
    good seed is good on both.

    Args:
        matrix: the pass matrix.
        runs: (seed, fingerprint) of the runs.
        first: mask of the matrix's rows, the first sample.
        second: mask of the second sample.
        clusters: of each row of the matrix: queries of one cluster are not independent. None: all are.
    """
    scored_runs = [run for run in runs if run[1] in matrix.columns]
    n_unscored = len(runs) - len(scored_runs)
    if not scored_runs:
        return make_undefined_estimate(Exclusions(runs=n_unscored), "no scored run")
    passed = matrix[[name for _, name in scored_runs]].to_numpy(dtype=float)
    groups, own_clusters, left_out = [], [], Exclusions(runs=n_unscored)
    labels = np.asarray([str(k) for k in range(len(matrix))] if clusters is None else list(clusters), dtype=object)
    for mask in (first, second):
        scores = select_available_scores([passed[mask]], 0)
        queries, outcomes = scores.exclusions.queries, scores.exclusions.outcomes
        left_out = Exclusions(left_out.queries + queries, left_out.outcomes + outcomes, n_unscored)
        groups.append(average_by_key(scores.sides[0], [seed for seed, _ in scored_runs]))
        own_clusters.append(np.unique(labels[mask][scores.is_kept], return_inverse=True)[1])
    sizes = [len(group) for group in groups]
    if min(sizes) == 0:
        return make_undefined_estimate(left_out, "no scored query on one side")
    mean, total = float(groups[0].mean() - groups[1].mean()), sum(sizes)
    seeds = groups[0].shape[1]
    variance = estimate_two_sample_variance(groups[0], groups[1], None if clusters is None else own_clusters)
    posterior = None
    if seeds > 1 and variance.terms:
        posterior = make_normal_posterior(mean, [(float(part), df) for part, df in variance.terms], (-1.0, 1.0))
    parts = [VarianceComponents.from_values(group) for group in groups]
    if seeds > 1 and variance.terms:
        shared = sum(part.interaction / (size * seeds) for part, size in zip(parts, sizes, strict=True))
        parts[0] = replace(parts[0], seed=max(0.0, float(variance.terms[0][0]) - shared) * seeds)

    def make_interval(variance: VarianceEstimate, wider: Interval, alpha: float) -> Interval:
        half = float(variance.compute_half_width(alpha))
        return Interval(min(max(-1.0, mean - half), wider.low), max(min(1.0, mean + half), wider.high))

    def predict(n: float, n_seeds: float, alpha: float) -> Interval:
        samples = [(part, size / total) for part, size in zip(parts, sizes, strict=True)]
        expected = predict_two_way_variance(samples, n, n_seeds) if min(sizes) > 1 else VarianceEstimate()
        return make_interval(expected, _bound_two_samples(groups, n / total, alpha), alpha)

    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: make_interval(variance, _bound_two_samples(groups, 1.0, alpha), alpha),
        predict_interval=predict if seeds > 1 else lambda n, s, alpha: UNDEFINED_INTERVAL,
        n_queries=total,
        n_seeds=seeds,
        n_runs=len(scored_runs),
        exclusions=left_out,
        method="two samples of queries, variances of queries and seeds" if seeds > 1 else "two samples, one seed",
        posterior=posterior,
        arm_rates=(groups[0].mean(axis=0) - groups[1].mean(axis=0),),
    )


def _bound_two_samples(groups: Sequence[Array], share: float, alpha: float) -> Interval:
    """Return each side's exact bounds at half the level, where one side passes nearly all or nearly none."""
    counts = [(float((g > 0).any(axis=1).sum()), float((g == 1).all(axis=1).sum()), float(len(g))) for g in groups]
    if all(min(n - always, ever) * share >= MIN_DISCORDANT_QUERIES for ever, always, n in counts):
        return UNWIDENED
    ends = []
    for ever, always, n in counts:
        low = clopper_pearson_interval(min(always * share, n * share), n * share, alpha / 2).low
        ends.append((low, clopper_pearson_interval(min(ever * share, n * share), n * share, alpha / 2).high))
    return Interval(ends[0][0] - ends[1][1], ends[0][1] - ends[1][0])


def estimate_two_sample_variance(
    first: Array, second: Array, clusters: Sequence[NDArray[np.int64]] | None = None
) -> VarianceEstimate:
    """Estimate the variance of the mean of `first` minus that of `second`, both (..., queries, seeds).

    Their seeds are the same. The first term is the seeds'. There are no terms where either side has a single query, or
    a single cluster.

    Args:
        first: scores of one sample of queries.
        second: scores of the other.
        clusters: of each query of each sample, from 0; None: each query is its own.
    """
    if min(first.shape[-2], second.shape[-2]) < 2:
        return VarianceEstimate()
    seeds = first.shape[-1]
    gaps = first.mean(axis=-2) - second.mean(axis=-2)
    by_seed = gaps.var(axis=-1, ddof=1) / seeds if seeds > 1 else np.zeros(gaps.shape[:-1])
    samples = [(*marginal_variances(group)[::2], group.shape[-2] - 1) for group in (first, second)]
    if clusters is not None:
        counts = [int(own.max()) + 1 for own in clusters]
        if min(counts) < 2:
            return VarianceEstimate()
        samples = [
            (np.maximum(by_query, _estimate_clustered_variance(group, own)), both, count - 1)
            for (by_query, both, _), group, own, count in zip(samples, (first, second), clusters, counts, strict=True)
        ]
    return combine_crossed_variances(samples, by_seed, seeds - 1)


def _estimate_clustered_variance(scores: Array, clusters: NDArray[np.int64]) -> Array:
    """Estimate the variance of a mean over queries (queries, seeds) by the sums of residuals of whole clusters.

    With one query in each cluster it is that of independent queries (Liang and Zeger 1986, Biometrika 73:13).
    """
    rates = scores.mean(axis=-1)
    sums = np.bincount(clusters, weights=rates - rates.mean())
    count = len(sums)
    return np.asarray(count / (count - 1) * np.square(sums).sum() / len(rates) ** 2)
