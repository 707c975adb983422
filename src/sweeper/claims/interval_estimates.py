"""Interval estimates of quantities over queries and seeds: pass rates and their differences.

An `IntervalEstimate` has its interval at any level, and predicts the interval of another design. Intervals are those of
`statistics.paired.VarianceEstimate`. The interval as a function of the level gives p-values that agree with the
intervals: p is the smallest alpha whose interval still lies where the claim requires.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.statistics.aliases import Array, BoolArray
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval, clopper_pearson_interval
from sweeper.statistics.paired import (
    MIN_DISCORDANT_QUERIES,
    EffectEstimate,
    Exclusions,
    Pairing,
    VarianceEstimate,
    average_by_key,
    combine_crossed_variances,
    estimate_two_way_variance,
    marginal_variances,
)

if TYPE_CHECKING:
    import pandas as pd

UNWIDENED = Interval(math.inf, -math.inf)
"""Bounds that widen no interval."""
IntervalPredictor = Callable[[float, float, float], Interval]
"""(queries, seeds, alpha) -> the interval expected of that many, if the estimate and the variances stay as observed."""


class RunEffectEstimate(EffectEstimate):
    """An estimate whose observations are runs, not outcomes."""

    @property
    def n(self) -> int:
        """Runs, or pairs of runs."""
        return self.n_runs


@dataclass(frozen=True)
class IntervalEstimate:
    """The estimate of one quantity. Its intervals are NaN where it is undefined."""

    estimate: float
    compute_interval: Callable[[float], Interval]
    """alpha -> two-sided interval at 1 - alpha."""
    predict_interval: IntervalPredictor
    n_queries: int
    n_seeds: int
    n_runs: int
    exclusions: Exclusions
    method: str
    is_run_level: bool = False
    """Whether the observations are runs."""

    def estimate_at_level(self, alpha: float) -> EffectEstimate:
        """Return the estimate with its interval at 1 - alpha."""
        interval = self.compute_interval(alpha)
        estimate_class = RunEffectEstimate if self.is_run_level else EffectEstimate
        return estimate_class(
            estimate=self.estimate,
            low=interval.low,
            high=interval.high,
            alpha=alpha,
            n_queries=self.n_queries,
            n_seeds=self.n_seeds,
            n_runs=self.n_runs,
            exclusions=self.exclusions,
            method=self.method,
        )


def make_undefined_estimate(exclusions: Exclusions, reason: str, *, is_run_level: bool = False) -> IntervalEstimate:
    """Return the estimate of a quantity without data."""
    return IntervalEstimate(
        math.nan,
        lambda alpha: UNDEFINED_INTERVAL,
        lambda queries, seeds, alpha: UNDEFINED_INTERVAL,
        0,
        0,
        0,
        exclusions,
        reason,
        is_run_level=is_run_level,
    )


def find_p_value(compute_interval: Callable[[float], Interval], is_established: Callable[[Interval], bool]) -> float:
    """Find the smallest alpha whose interval is established.

    Args:
        compute_interval: alpha -> interval at 1 - alpha.
        is_established: must stay true as intervals shrink.

    Returns:
        The level, to a relative 1e-4 and not below 1e-12; 1 where no level does, NaN where undefined.
    """
    if math.isnan(compute_interval(0.5).low):
        return math.nan
    low, high = math.log(1e-12), math.log(1 - 1e-9)
    if not is_established(compute_interval(math.exp(high))):
        return 1.0
    if is_established(compute_interval(math.exp(low))):
        return 1e-12
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if is_established(compute_interval(math.exp(middle))) else (middle, high)
    return math.exp(high)


@dataclass(frozen=True)
class VarianceComponents:
    """Variance components of a mean over queries and seeds: of one query, one seed, and one query in one seed.

    `seed` and `interaction` are NaN with one seed, all three with one query.
    """

    query: float
    seed: float
    interaction: float

    @staticmethod
    def from_values(values: Array) -> VarianceComponents:
        """Estimate them from (queries, seeds), by the mean squares of the two-way layout; negative ones become 0."""
        queries, seeds = values.shape
        if queries < 2:
            return VarianceComponents(math.nan, math.nan, math.nan)
        by_query = float(values.mean(axis=1).var(ddof=1))
        if seeds < 2:
            return VarianceComponents(by_query, math.nan, math.nan)
        query_margin, seed_margin, interaction = (float(variance) for variance in marginal_variances(values))
        return VarianceComponents(
            max(0.0, query_margin - interaction) * queries,
            max(0.0, seed_margin - interaction) * seeds,
            interaction * queries * seeds,
        )


def predict_two_way_variance(
    parts: Sequence[tuple[VarianceComponents, float]], queries: float, seeds: float
) -> VarianceEstimate:
    """Predict the variance of a mean over that many queries and seeds.

    Args:
        parts: components of each independent sample of queries, and its share of the queries. The seeds' component is
            that of the first, and holds for all.
        queries: all queries.
        seeds: all seeds.
    """
    samples = []
    for part, share in parts:
        interaction = part.interaction / (queries * share * seeds)
        samples.append((part.query / (queries * share) + interaction, interaction, max(queries * share - 1, 1)))
    by_seed = parts[0][0].seed / seeds + sum(interaction for _, interaction, _ in samples)
    return combine_crossed_variances(samples, by_seed, seeds - 1)


def estimate_pass_rate_difference(matrix: pd.DataFrame, pairing: Pairing) -> IntervalEstimate:
    """Estimate the difference that `estimate_paired_difference` gives, with its interval at any level."""
    pairs = [p for p in pairing.pairs if p[1] in matrix.columns and p[2] in matrix.columns]
    unmatched_runs = pairing.unmatched_runs + 2 * (len(pairing.pairs) - len(pairs))
    if not pairs:
        return make_undefined_estimate(Exclusions(runs=unmatched_runs), "nothing to pair")
    first, second = (matrix[[p[arm] for p in pairs]].to_numpy(dtype=float) for arm in (1, 2))
    return estimate_score_difference(first, second, [p[0] for p in pairs], unmatched_runs=unmatched_runs)


def estimate_score_difference(
    first: Array, second: Array, seeds: Sequence[int], *, unmatched_runs: int = 0
) -> IntervalEstimate:
    """Estimate the mean of first - second, both (queries, runs) with NaN where not scored; `seeds` of the runs."""
    scored, excluded = find_scored_queries([first, second], unmatched_runs)
    if not scored.any():
        return make_undefined_estimate(excluded, "nothing to pair")
    by_seed = average_by_key(first[scored] - second[scored], seeds)
    better, worse = float((by_seed > 0).any(axis=1).sum()), float((by_seed < 0).any(axis=1).sum())
    discordant = float((by_seed != 0).any(axis=1).sum())

    def compute_bounds(share: float, n: float, alpha: float) -> Interval:
        # Few discordant queries: -P(worse) <= mean <= P(better), as in `paired.compute_two_way_interval`.
        if discordant * share >= MIN_DISCORDANT_QUERIES:
            return UNWIDENED
        up, down = (clopper_pearson_interval(min(count * share, n), n, alpha).high for count in (better, worse))
        return Interval(-down, up)

    method = "Clopper-Pearson bounds" if discordant < MIN_DISCORDANT_QUERIES else "Banerjee's interval"
    return estimate_two_way_mean(TwoWayMean(by_seed, (-1.0, 1.0), compute_bounds, method), len(seeds), excluded)


def estimate_reference_gap(matrix: pd.DataFrame, runs: Sequence[tuple[int, str]], reference: float) -> IntervalEstimate:
    """Estimate the pass rate of one arm's runs, (seed, fingerprint), minus a fixed number. Every seed counts alike."""
    scored_runs = [run for run in runs if run[1] in matrix.columns]
    n_unscored = len(runs) - len(scored_runs)
    if not scored_runs:
        return make_undefined_estimate(Exclusions(runs=n_unscored), "no scored run")
    passed = matrix[[name for _, name in scored_runs]].to_numpy(dtype=float)
    scored, excluded = find_scored_queries([passed], n_unscored)
    if not scored.any():
        return make_undefined_estimate(excluded, "no query scored in every run")
    by_seed = average_by_key(passed[scored], [seed for seed, _ in scored_runs])
    queries = by_seed.shape[0]
    always, ever = float((by_seed == 1).all(axis=1).sum()), float((by_seed > 0).any(axis=1).sum())
    is_extreme = min(queries - always, ever) < MIN_DISCORDANT_QUERIES

    def compute_bounds(share: float, n: float, alpha: float) -> Interval:
        # Nearly all or nearly none pass: P(always) <= rate <= P(ever).
        if min(queries - always, ever) * share >= MIN_DISCORDANT_QUERIES:
            return UNWIDENED
        low, high = (clopper_pearson_interval(min(count * share, n), n, alpha) for count in (always, ever))
        return Interval(low.low - reference, high.high - reference)

    method = "Clopper-Pearson bounds" if is_extreme else "Banerjee's interval"
    mean = TwoWayMean(by_seed - reference, (-reference, 1 - reference), compute_bounds, method)
    return estimate_two_way_mean(mean, len(scored_runs), excluded)


@dataclass(frozen=True)
class TwoWayMean:
    """A mean over (queries, seeds) and the limits of its interval."""

    values: Array
    limits: tuple[float, float]
    """Smallest and largest possible mean."""
    compute_bounds: Callable[[float, float, float], Interval]
    """(share of the observed queries, queries, alpha) -> bounds that widen the interval where the normal theory is too
    narrow."""
    method: str


def estimate_two_way_mean(mean: TwoWayMean, n_runs: int, exclusions: Exclusions) -> IntervalEstimate:
    """Estimate a mean over queries and seeds, with the interval of its two-way variance."""
    value = float(mean.values.mean())
    queries, seeds = mean.values.shape
    variance = estimate_two_way_variance(mean.values)
    components = VarianceComponents.from_values(mean.values)

    def make_interval(variance: VarianceEstimate, wider: Interval, alpha: float) -> Interval:
        half = float(variance.compute_half_width(alpha))
        low, high = mean.limits
        return Interval(min(max(low, value - half), wider.low), max(min(high, value + half), wider.high))

    def predict(n: float, n_seeds: float, alpha: float) -> Interval:
        if math.isnan(components.seed):
            return UNDEFINED_INTERVAL
        expected = predict_two_way_variance([(components, 1.0)], n, n_seeds)
        return make_interval(expected, mean.compute_bounds(n / queries, n, alpha), alpha)

    varying = "queries and seeds vary" if seeds > 1 else "queries vary, one seed"
    return IntervalEstimate(
        estimate=value,
        compute_interval=lambda alpha: make_interval(variance, mean.compute_bounds(1.0, queries, alpha), alpha),
        predict_interval=predict,
        n_queries=queries,
        n_seeds=seeds,
        n_runs=n_runs,
        exclusions=exclusions,
        method=f"{mean.method}, {varying}",
    )


def estimate_two_sample_difference(
    matrix: pd.DataFrame, runs: Sequence[tuple[int, str]], first: BoolArray, second: BoolArray
) -> IntervalEstimate:
    """Estimate the rate of the same runs on one sample of queries minus that on another.

    The seeds are the same on both sides, so the variance over seeds is that of the difference and not of either side: a
    good seed is good on both.

    Args:
        matrix: the pass matrix.
        runs: (seed, fingerprint) of the runs.
        first: mask of the matrix's rows, the first sample.
        second: mask of the second sample.
    """
    scored_runs = [run for run in runs if run[1] in matrix.columns]
    n_unscored = len(runs) - len(scored_runs)
    if not scored_runs:
        return make_undefined_estimate(Exclusions(runs=n_unscored), "no scored run")
    passed = matrix[[name for _, name in scored_runs]].to_numpy(dtype=float)
    groups, left_out = [], Exclusions(runs=n_unscored)
    for mask in (first, second):
        scored, excluded = find_scored_queries([passed[mask]], 0)
        left_out = Exclusions(left_out.queries + excluded.queries, left_out.outcomes + excluded.outcomes, n_unscored)
        groups.append(average_by_key(passed[mask][scored], [seed for seed, _ in scored_runs]))
    sizes = [len(group) for group in groups]
    if min(sizes) == 0:
        return make_undefined_estimate(left_out, "no query scored in every run on one side")
    mean, total = float(groups[0].mean() - groups[1].mean()), sum(sizes)
    seeds = groups[0].shape[1]
    variance = estimate_two_sample_variance(*groups)
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


def estimate_two_sample_variance(first: Array, second: Array) -> VarianceEstimate:
    """Estimate the variance of the mean of `first` minus that of `second`, both (..., queries, seeds).

    Their seeds are the same. The first term is the seeds'. There are no terms where either side has a single query.
    """
    if min(first.shape[-2], second.shape[-2]) < 2:
        return VarianceEstimate()
    seeds = first.shape[-1]
    gaps = first.mean(axis=-2) - second.mean(axis=-2)
    by_seed = gaps.var(axis=-1, ddof=1) / seeds if seeds > 1 else np.zeros(gaps.shape[:-1])
    samples = [(*marginal_variances(group)[::2], group.shape[-2] - 1) for group in (first, second)]
    return combine_crossed_variances(samples, by_seed, seeds - 1)


def find_scored_queries(sides: Sequence[Array], unmatched_runs: int) -> tuple[BoolArray, Exclusions]:
    """Return the mask of the queries that every run has a score for, and what that leaves out."""
    is_unscored = np.concatenate([np.isnan(side) for side in sides], axis=1)
    has_any = np.asarray(~is_unscored.all(axis=1))
    is_scored = np.asarray(~is_unscored.any(axis=1))
    n_queries, n_outcomes = int((has_any & ~is_scored).sum()), int(is_unscored[has_any].sum())
    return is_scored, Exclusions(queries=n_queries, outcomes=n_outcomes, runs=unmatched_runs)
