"""Interval estimates of quantities over queries and seeds: pass rates and their differences.

An `IntervalEstimate` has its interval at any level, and predicts the interval of another design. Intervals are those of
`statistics.paired.VarianceEstimate`. The interval as a function of the level gives p-values that agree with the
intervals: p is the smallest alpha whose interval still lies where the claim requires.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.available_cases import select_available_scores
from sweeper.claims.probability import Posterior, make_normal_posterior
from sweeper.statistics.aliases import Array
from sweeper.statistics.independent_seeds import (
    DEFAULT_SD_RATIO,
    IndependentVariance,
    contradicts_ratio,
    estimate_independent_variance,
)
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval, clopper_pearson_interval
from sweeper.statistics.paired import (
    MIN_DISCORDANT_QUERIES,
    ArmRuns,
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
class SeedAssumption:
    """That two arms' seeds are unrelated, and their standard deviations over seeds differ by a limited ratio."""

    sd_ratio: float
    """The limit."""
    observed_ratio: float
    """The larger observed standard deviation over the smaller one; NaN where both are 0."""
    is_contradicted: bool
    """Whether an F test at 5 % rejects the limit."""
    compute_interval_without: Callable[[float], Interval]
    """alpha -> the interval at 1 - alpha that is right for every ratio."""


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
    seed_assumption: SeedAssumption | None = None
    """What the interval assumes about the arms' seeds; None where seeds are matched or there is one arm."""
    posterior: Posterior | None = None
    """None where one seed shows no spread, and for quantities without one."""
    arm_rates: tuple[Array, ...] = ()
    """Of a pass rate, or of a difference of two: the rates of each arm's seeds (seeds,)."""

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
    scores = select_available_scores([first, second], unmatched_runs)
    if scores.is_empty:
        return make_undefined_estimate(scores.exclusions, "nothing to pair")
    by_seed = average_by_key(scores.sides[0] - scores.sides[1], seeds)
    counted = average_by_key(scores.plain_sides[0] - scores.plain_sides[1], seeds)
    better, worse = float((counted > 0).any(axis=1).sum()), float((counted < 0).any(axis=1).sum())
    discordant = float((counted != 0).any(axis=1).sum())

    def compute_bounds(share: float, n: float, alpha: float) -> Interval:
        # Few discordant queries: -P(worse) <= mean <= P(better), as in `paired.compute_two_way_interval`.
        if discordant * share >= MIN_DISCORDANT_QUERIES:
            return UNWIDENED
        up, down = (clopper_pearson_interval(min(count * share, n), n, alpha).high for count in (better, worse))
        return Interval(-down, up)

    method = "Clopper-Pearson bounds" if discordant < MIN_DISCORDANT_QUERIES else "Banerjee's interval"
    mean = TwoWayMean(
        by_seed,
        (-1.0, 1.0),
        compute_bounds,
        method,
        n_informative=discordant,
        arm_rates=tuple(average_by_key(side, seeds).mean(axis=0) for side in scores.sides),
    )
    return estimate_two_way_mean(mean, len(seeds), scores.exclusions)


def estimate_independent_difference(
    matrix: pd.DataFrame, runs: ArmRuns, sd_ratio: float = DEFAULT_SD_RATIO
) -> IntervalEstimate:
    """Estimate the difference in pass rate of two arms whose seeds are unrelated, over the queries scored in each arm.

    Args:
        matrix: the result of `build_pass_matrix`.
        runs: the compared runs.
        sd_ratio: largest ratio of the arms' standard deviations over seeds to allow for.
    """
    sides = [[run for run in side if run[1] in matrix.columns] for side in (runs.first, runs.second)]
    n_runs = sum(map(len, sides))
    unmatched = runs.unmatched_runs + len(runs.first) + len(runs.second) - n_runs
    if not all(sides):
        return make_undefined_estimate(Exclusions(runs=unmatched + n_runs), "an arm has no scored run")
    passed = [matrix[[name for _, name in side]].to_numpy(dtype=float) for side in sides]
    scores = select_available_scores(passed, unmatched)
    if scores.is_empty:
        return make_undefined_estimate(scores.exclusions, "no query scored in each arm")
    (first, second), (one, other) = (
        [average_by_key(values, [seed for seed, _ in side]) for values, side in zip(own, sides, strict=True)]
        for own in (scores.sides, scores.plain_sides)
    )
    queries = first.shape[0]
    # A query differs where some run of one arm and some run of the other do.
    is_better, is_worse = one.max(axis=1) > other.min(axis=1), other.max(axis=1) > one.min(axis=1)
    better, worse = float(is_better.sum()), float(is_worse.sum())
    discordant = float((is_better | is_worse).sum())

    def compute_bounds(share: float, n: float, alpha: float) -> Interval:
        if discordant * share >= MIN_DISCORDANT_QUERIES:
            return UNWIDENED
        up, down = (clopper_pearson_interval(min(count * share, n), n, alpha).high for count in (better, worse))
        return Interval(-down, up)

    method = "Clopper-Pearson bounds" if discordant < MIN_DISCORDANT_QUERIES else "interval for independent seeds"
    mean = TwoWayMean(
        np.empty((queries, 0)),
        (-1.0, 1.0),
        compute_bounds,
        method,
        (first, second),
        sd_ratio,
        n_informative=discordant,
        arm_rates=(first.mean(axis=0), second.mean(axis=0)),
    )
    return estimate_two_way_mean(mean, n_runs, scores.exclusions)


def estimate_reference_gap(matrix: pd.DataFrame, runs: Sequence[tuple[int, str]], reference: float) -> IntervalEstimate:
    """Estimate the pass rate of one arm's runs, (seed, fingerprint), minus a fixed number. Every seed counts alike."""
    scored_runs = [run for run in runs if run[1] in matrix.columns]
    n_unscored = len(runs) - len(scored_runs)
    if not scored_runs:
        return make_undefined_estimate(Exclusions(runs=n_unscored), "no scored run")
    passed = matrix[[name for _, name in scored_runs]].to_numpy(dtype=float)
    scores = select_available_scores([passed], n_unscored)
    if scores.is_empty:
        return make_undefined_estimate(scores.exclusions, "no scored query")
    by_seed, counted = (
        average_by_key(own, [seed for seed, _ in scored_runs]) for (own,) in (scores.sides, scores.plain_sides)
    )
    queries = by_seed.shape[0]
    always, ever = float((counted == 1).all(axis=1).sum()), float((counted > 0).any(axis=1).sum())
    is_extreme = min(queries - always, ever) < MIN_DISCORDANT_QUERIES

    def compute_bounds(share: float, n: float, alpha: float) -> Interval:
        # Nearly all or nearly none pass: P(always) <= rate <= P(ever).
        if min(queries - always, ever) * share >= MIN_DISCORDANT_QUERIES:
            return UNWIDENED
        low, high = (clopper_pearson_interval(min(count * share, n), n, alpha) for count in (always, ever))
        return Interval(low.low - reference, high.high - reference)

    method = "Clopper-Pearson bounds" if is_extreme else "Banerjee's interval"
    mean = TwoWayMean(
        by_seed - reference,
        (-reference, 1 - reference),
        compute_bounds,
        method,
        n_informative=min(queries - always, ever),
        arm_rates=(by_seed.mean(axis=0),),
    )
    return estimate_two_way_mean(mean, len(scored_runs), scores.exclusions)


@dataclass(frozen=True)
class TwoWayMean:
    """A mean over (queries, seeds) and the limits of its interval."""

    values: Array
    """Empty for a difference of `arms`."""
    limits: tuple[float, float]
    """Smallest and largest possible mean."""
    compute_bounds: Callable[[float, float, float], Interval]
    """(share of the observed queries, queries, alpha) -> bounds that widen the interval where the normal theory is too
    narrow."""
    method: str
    arms: tuple[Array, Array] | None = None
    """Of a difference of two arms with unrelated seeds: the values of each, (queries, its seeds)."""
    sd_ratio: float = math.inf
    """Largest ratio of the arms' standard deviations over seeds to allow for."""
    n_informative: float = math.inf
    """Queries that show any difference; with few of them their variance is an underestimate."""
    arm_rates: tuple[Array, ...] = ()
    """Pass rates of each arm's seeds (seeds,), where it is a mean of those."""

    @property
    def mean(self) -> float:
        """The mean, or the difference of the arms' means."""
        return float(self.values.mean()) if self.arms is None else float(self.arms[0].mean() - self.arms[1].mean())

    @property
    def n_seeds(self) -> int:
        """Seeds of the arm with fewer of them."""
        return int(min(values.shape[1] for values in self.arms or (self.values,)))

    def estimate_variance(self, sd_ratio: float) -> VarianceEstimate:
        """Estimate the variance of the mean."""
        if self.arms is None:
            return estimate_two_way_variance(self.values)
        return estimate_independent_variance(*self.arms, sd_ratio)

    def estimate_components(self) -> VarianceComponents:
        """Estimate the variance components; of a difference of arms, the sums of both arms' seeds and interactions."""
        if self.arms is None:
            return VarianceComponents.from_values(self.values)
        parts = [VarianceComponents.from_values(arm) for arm in self.arms]
        n_queries = self.values.shape[0]
        by_query = float((self.arms[0].mean(axis=1) - self.arms[1].mean(axis=1)).var(ddof=1)) if n_queries > 1 else 0.0
        shares = sum(part.interaction / arm.shape[1] for part, arm in zip(parts, self.arms, strict=True))
        query = max(0.0, by_query - shares)
        return VarianceComponents(query, sum(part.seed for part in parts), sum(part.interaction for part in parts))


def estimate_two_way_mean(mean: TwoWayMean, n_runs: int, exclusions: Exclusions) -> IntervalEstimate:
    """Estimate a mean over queries and seeds, with the interval of its two-way variance."""
    value, queries, seeds = mean.mean, mean.values.shape[0], mean.n_seeds
    variance = mean.estimate_variance(mean.sd_ratio)
    components = mean.estimate_components()

    def make_interval(variance: VarianceEstimate, wider: Interval, alpha: float) -> Interval:
        half = float(variance.compute_half_width(alpha))
        low, high = mean.limits
        return Interval(min(max(low, value - half), wider.low), max(min(high, value + half), wider.high))

    def predict(n: float, n_seeds: float, alpha: float) -> Interval:
        if math.isnan(components.seed):
            return UNDEFINED_INTERVAL
        expected = predict_two_way_variance([(components, 1.0)], n, n_seeds)
        if mean.arms is not None:
            expected = IndependentVariance(expected.terms, n_seeds=(n_seeds, n_seeds), sd_ratio=mean.sd_ratio)
        return make_interval(expected, mean.compute_bounds(n / queries, n, alpha), alpha)

    def compute_interval(alpha: float, variance: VarianceEstimate = variance) -> Interval:
        return make_interval(variance, mean.compute_bounds(1.0, queries, alpha), alpha)

    varying = "queries and seeds vary" if seeds > 1 else "queries vary, one seed"
    return IntervalEstimate(
        estimate=value,
        compute_interval=compute_interval,
        predict_interval=predict,
        n_queries=queries,
        n_seeds=seeds,
        n_runs=n_runs,
        exclusions=exclusions,
        method=f"{mean.method}, {varying}",
        seed_assumption=_describe_assumption(mean, variance, compute_interval),
        posterior=_make_posterior(mean, variance),
        arm_rates=mean.arm_rates,
    )


def _make_posterior(mean: TwoWayMean, variance: VarianceEstimate) -> Posterior | None:
    if mean.n_seeds < 2 or not variance.terms:
        return None
    n_queries = mean.values.shape[0]
    *seeds, (query, df) = [(float(part), degrees) for part, degrees in variance.split_terms()]
    if mean.n_informative < MIN_DISCORDANT_QUERIES:
        share = (mean.n_informative + 0.5) / (n_queries + 1)
        query = max(query, share * (1 - share) / n_queries)
    return make_normal_posterior(mean.mean, [*seeds, (query, df)], mean.limits)


def _describe_assumption(
    mean: TwoWayMean, variance: VarianceEstimate, compute_interval: Callable[[float, VarianceEstimate], Interval]
) -> SeedAssumption | None:
    if not isinstance(variance, IndependentVariance) or mean.n_seeds < 2:
        return None
    without = mean.estimate_variance(math.inf)
    observed = float(variance.observed_ratio)
    return SeedAssumption(
        sd_ratio=mean.sd_ratio,
        observed_ratio=observed,
        is_contradicted=contradicts_ratio(observed, variance.n_seeds, mean.sd_ratio),
        compute_interval_without=lambda alpha: compute_interval(alpha, without),
    )
