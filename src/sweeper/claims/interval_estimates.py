"""Evidence for one quantity: its estimate, its interval at any level, and the interval that another design would give.

A quantity over queries and seeds has the interval of `paired.Spread.half_width`; quantities over runs have exact,
chi-square or Student limits. The interval as a function of the level gives p-values that agree with the intervals: p is
the level at which the interval just stops lying where it should.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from sweeper.statistics.intervals import Interval, clopper_pearson_interval
from sweeper.statistics.paired import (
    MIN_DISCORDANT_QUERIES,
    Array,
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

UNDEFINED_INTERVAL = Interval(math.nan, math.nan)
IntervalPredictor = Callable[[float, float, float], Interval]
"""(queries, seeds, alpha) -> the interval expected of that many, were the estimate and the variances as observed."""


class RunEffectEstimate(EffectEstimate):
    """An estimate whose observations are runs, not outcomes."""

    @property
    def n(self) -> int:
        """Runs, or pairs of runs."""
        return self.n_runs


@dataclass(frozen=True)
class IntervalEstimate:
    """What the tables say about one quantity. `interval` and `predict` are NaN where it is undefined."""

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
        """The estimate with its interval at 1 - alpha."""
        interval = self.compute_interval(alpha)
        kind = RunEffectEstimate if self.is_run_level else EffectEstimate
        return kind(
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
    """Evidence of nothing."""
    return IntervalEstimate(
        math.nan,
        lambda alpha: UNDEFINED_INTERVAL,
        lambda q, s, alpha: UNDEFINED_INTERVAL,
        0,
        0,
        0,
        exclusions,
        reason,
        is_run_level=is_run_level,
    )


def find_p_value(compute_interval: Callable[[float], Interval], holds: Callable[[Interval], bool]) -> float:
    """The smallest alpha at which `holds` is true of the interval; 1 where of none, NaN where undefined.

    `holds` has to stay true as intervals shrink. Resolution: 1e-4 of itself; nothing below 1e-12.
    """
    if math.isnan(compute_interval(0.5).low):
        return math.nan
    low, high = math.log(1e-12), math.log(1 - 1e-9)
    if not holds(compute_interval(math.exp(high))):
        return 1.0
    if holds(compute_interval(math.exp(low))):
        return 1e-12
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(compute_interval(math.exp(middle))) else (middle, high)
    return math.exp(high)


@dataclass(frozen=True)
class VarianceComponents:
    """Variance components of a mean over queries and seeds: of one query, one seed, and one query in one seed.

    `seed` and `both` are NaN with one seed, `query` and `both` with one query.
    """

    query: float
    seed: float
    interaction: float

    @staticmethod
    def from_values(values: Array) -> VarianceComponents:
        """From (queries, seeds), by the mean squares of the two-way layout; a negative component is none."""
        queries, seeds = values.shape
        if queries < 2:
            return VarianceComponents(math.nan, math.nan, math.nan)
        by_query = float(values.mean(axis=1).var(ddof=1))
        if seeds < 2:
            return VarianceComponents(by_query, math.nan, math.nan)
        each, per_seed, both = (float(variance) for variance in marginal_variances(values))
        return VarianceComponents(
            max(0.0, each - both) * queries, max(0.0, per_seed - both) * seeds, both * queries * seeds
        )


def predict_two_way_variance(
    parts: Sequence[tuple[VarianceComponents, float]], queries: float, seeds: float
) -> VarianceEstimate:
    """Spread expected at that many queries and seeds; `parts`: components, share of the queries.

    The parts are independent samples of queries; the seeds' component is that of the first, which stands for all.
    """
    samples = []
    for part, share in parts:
        both = part.interaction / (queries * share * seeds)
        samples.append((part.query / (queries * share) + both, both, max(queries * share - 1, 1)))
    return combine_crossed_variances(samples, parts[0][0].seed / seeds + sum(both for _, both, _ in samples), seeds - 1)


def estimate_pass_rate_difference(matrix: pd.DataFrame, pairing: Pairing) -> IntervalEstimate:
    """Rate of the first arm minus rate of the second; at any level what `paired_difference` gives."""
    pairs = [p for p in pairing.pairs if p[1] in matrix.columns and p[2] in matrix.columns]
    alone = pairing.unmatched_runs + 2 * (len(pairing.pairs) - len(pairs))
    if not pairs:
        return make_undefined_estimate(Exclusions(runs=alone), "nothing to pair")
    first, second = (matrix[[p[arm] for p in pairs]].to_numpy(dtype=float) for arm in (1, 2))
    return estimate_score_difference(first, second, [p[0] for p in pairs], unmatched_runs=alone)


def estimate_score_difference(
    first: Array, second: Array, seeds: Sequence[int], *, unmatched_runs: int = 0
) -> IntervalEstimate:
    """Mean of first - second, both (queries, runs) with NaN where not scored; `seeds` of the runs."""
    kept, excluded = _find_scored_queries([first, second], unmatched_runs)
    if not kept.any():
        return make_undefined_estimate(excluded, "nothing to pair")
    by_seed = average_by_key(first[kept] - second[kept], seeds)
    better, worse = float((by_seed > 0).any(axis=1).sum()), float((by_seed < 0).any(axis=1).sum())
    changed = float((by_seed != 0).any(axis=1).sum())

    def bounds(share: float, n: float, alpha: float) -> Interval:
        # Few discordant queries: -P(worse) <= mean <= P(better), see `paired.two_way_interval`.
        if changed * share >= MIN_DISCORDANT_QUERIES:
            return Interval(math.inf, -math.inf)
        up, down = (clopper_pearson_interval(min(count * share, n), n, alpha).high for count in (better, worse))
        return Interval(-down, up)

    what = "Clopper-Pearson bounds" if changed < MIN_DISCORDANT_QUERIES else "Banerjee's interval"
    return estimate_two_way_mean(by_seed, -1.0, 1.0, bounds, what, len(seeds), excluded)


def estimate_reference_gap(matrix: pd.DataFrame, runs: Sequence[tuple[int, str]], reference: float) -> IntervalEstimate:
    """Pass rate of one arm's runs, (seed, fingerprint), minus a fixed number. Every seed counts alike."""
    there = [run for run in runs if run[1] in matrix.columns]
    alone = len(runs) - len(there)
    if not there:
        return make_undefined_estimate(Exclusions(runs=alone), "no scored run")
    passed = matrix[[name for _, name in there]].to_numpy(dtype=float)
    kept, excluded = _find_scored_queries([passed], alone)
    if not kept.any():
        return make_undefined_estimate(excluded, "no query scored in every run")
    by_seed = average_by_key(passed[kept], [seed for seed, _ in there])
    queries = by_seed.shape[0]
    always, ever = float((by_seed == 1).all(axis=1).sum()), float((by_seed > 0).any(axis=1).sum())

    def bounds(share: float, n: float, alpha: float) -> Interval:
        # Nearly all or nearly none pass: P(always) <= rate <= P(ever).
        if min(queries - always, ever) * share >= MIN_DISCORDANT_QUERIES:
            return Interval(math.inf, -math.inf)
        low, high = (clopper_pearson_interval(min(count * share, n), n, alpha) for count in (always, ever))
        return Interval(low.low - reference, high.high - reference)

    what = "Clopper-Pearson bounds" if min(queries - always, ever) < MIN_DISCORDANT_QUERIES else "Banerjee's interval"
    low, high = -reference, 1 - reference
    return estimate_two_way_mean(by_seed - reference, low, high, bounds, what, len(there), excluded)


def estimate_two_way_mean(
    values: Array,
    least: float,
    most: float,
    compute_bounds: Callable[[float, float, float], Interval],
    method: str,
    runs: int,
    exclusions: Exclusions,
) -> IntervalEstimate:
    """The mean of (queries, seeds) within `least`..`most`. `bounds` (share of today's queries, queries, alpha) widens
    the interval, where the normal theory sees too little."""
    mean = float(values.mean())
    queries, seeds = values.shape
    spread, parts = estimate_two_way_variance(values), VarianceComponents.from_values(values)

    def around(spread: VarianceEstimate, wider: Interval, alpha: float) -> Interval:
        half = float(spread.compute_half_width(alpha))
        return Interval(min(max(least, mean - half), wider.low), max(min(most, mean + half), wider.high))

    def predict(n: float, s: float, alpha: float) -> Interval:
        if math.isnan(parts.seed):
            return UNDEFINED_INTERVAL
        return around(predict_two_way_variance([(parts, 1.0)], n, s), compute_bounds(n / queries, n, alpha), alpha)

    varied = "queries and seeds vary" if seeds > 1 else "queries vary, one seed"
    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: around(spread, compute_bounds(1.0, queries, alpha), alpha),
        predict_interval=predict,
        n_queries=queries,
        n_seeds=seeds,
        n_runs=runs,
        exclusions=exclusions,
        method=f"{method}, {varied}",
    )


def estimate_two_sample_difference(
    matrix: pd.DataFrame, runs: Sequence[tuple[int, str]], first: Any, second: Any
) -> IntervalEstimate:
    """Rate of the same runs on the queries `first` minus that on the queries `second` (masks of the matrix' rows).

    The queries are two samples, the seeds are the same: the variance over seeds is that of the difference, not of
    either side, since a good seed is good on both.
    """
    there = [run for run in runs if run[1] in matrix.columns]
    alone = len(runs) - len(there)
    if not there:
        return make_undefined_estimate(Exclusions(runs=alone), "no scored run")
    passed = matrix[[name for _, name in there]].to_numpy(dtype=float)
    groups, left_out = [], Exclusions(runs=alone)
    for mask in (np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)):
        kept, excluded = _find_scored_queries([passed[mask]], 0)
        left_out = Exclusions(left_out.queries + excluded.queries, left_out.outcomes + excluded.outcomes, alone)
        groups.append(average_by_key(passed[mask][kept], [seed for seed, _ in there]))
    sizes = [len(group) for group in groups]
    if min(sizes) == 0:
        return make_undefined_estimate(left_out, "no query scored in every run on one side")
    mean, total = float(groups[0].mean() - groups[1].mean()), sum(sizes)
    seeds = groups[0].shape[1]
    parts, spread = [VarianceComponents.from_values(group) for group in groups], estimate_two_sample_variance(*groups)
    if seeds > 1 and spread.terms:
        shared = sum(part.interaction / (size * seeds) for part, size in zip(parts, sizes, strict=True))
        parts[0] = replace(parts[0], seed=max(0.0, float(spread.terms[0][0]) - shared) * seeds)
    counts = [(float((g > 0).any(axis=1).sum()), float((g == 1).all(axis=1).sum()), float(len(g))) for g in groups]

    def wider(share: float, alpha: float) -> Interval:
        # One side nearly all or nearly none: each side's exact bounds at half the level.
        if all(min(n - always, ever) * share >= MIN_DISCORDANT_QUERIES for ever, always, n in counts):
            return Interval(math.inf, -math.inf)
        ends = []
        for ever, always, n in counts:
            low = clopper_pearson_interval(min(always * share, n * share), n * share, alpha / 2).low
            ends.append((low, clopper_pearson_interval(min(ever * share, n * share), n * share, alpha / 2).high))
        return Interval(ends[0][0] - ends[1][1], ends[0][1] - ends[1][0])

    def around(spread: VarianceEstimate, wide: Interval, alpha: float) -> Interval:
        half = float(spread.compute_half_width(alpha))
        return Interval(min(max(-1.0, mean - half), wide.low), max(min(1.0, mean + half), wide.high))

    def predict(n: float, s: float, alpha: float) -> Interval:
        shared = [(part, size / total) for part, size in zip(parts, sizes, strict=True)]
        expected = predict_two_way_variance(shared, n, s) if min(sizes) > 1 else VarianceEstimate()
        return around(expected, wider(n / total, alpha), alpha)

    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: around(spread, wider(1.0, alpha), alpha),
        predict_interval=predict if seeds > 1 else lambda n, s, alpha: UNDEFINED_INTERVAL,
        n_queries=total,
        n_seeds=seeds,
        n_runs=len(there),
        exclusions=left_out,
        method="two samples of queries, variances of queries and seeds" if seeds > 1 else "two samples, one seed",
    )


def estimate_two_sample_variance(first: Array, second: Array) -> VarianceEstimate:
    """Spread of the mean of `first` minus that of `second`, both (..., queries, seeds), of the same seeds. The first
    part is the seeds'; there are none where either has a single query."""
    if min(first.shape[-2], second.shape[-2]) < 2:
        return VarianceEstimate()
    seeds = first.shape[-1]
    gaps = first.mean(axis=-2) - second.mean(axis=-2)
    by_seed = gaps.var(axis=-1, ddof=1) / seeds if seeds > 1 else np.zeros(gaps.shape[:-1])
    samples = [(*marginal_variances(group)[::2], group.shape[-2] - 1) for group in (first, second)]
    return combine_crossed_variances(samples, by_seed, seeds - 1)


def estimate_cost_ratio(
    first: Array,
    second: Array,
    costs: tuple[Array, Array],
    seeds: Sequence[int],
) -> IntervalEstimate:
    """Cost per solved query of the first arm over that of the second. `first`, `second`: passes (queries, runs);
    `costs`: cost of one query in each of those runs.

    The log ratio, linearised at the means, has the interval of `two_way`; a few solved queries give exact bounds on the
    rates (each at half the level) instead. Undefined where an arm solves nothing.
    """
    kept, excluded = _find_scored_queries([first, second], 0)
    if not kept.any():
        return make_undefined_estimate(excluded, "no query scored in every run")
    passed = [average_by_key(values[kept], seeds) for values in (first, second)]
    spent = [average_by_key(values[None, :], seeds)[0] for values in costs]
    rates, means = [float(p.mean()) for p in passed], [float(c.mean()) for c in spent]
    if min(rates) == 0 or not min(means) > 0:
        return make_undefined_estimate(excluded, "an arm solves nothing, so that a solved query has no price")
    ratio = means[0] / rates[0] / (means[1] / rates[1])
    linear = passed[1] / rates[1] - passed[0] / rates[0] + (spent[0] / means[0] - spent[1] / means[1])[None, :]
    queries = linear.shape[0]
    ever = [float((p > 0).any(axis=1).sum()) for p in passed]
    always = [float((p == 1).all(axis=1).sum()) for p in passed]
    price = math.log(means[0] / means[1])

    def bounds(share: float, n: float, alpha: float) -> Interval:
        if min(ever) * share >= MIN_DISCORDANT_QUERIES:
            return Interval(math.inf, -math.inf)
        low = [clopper_pearson_interval(min(count * share, n), n, alpha / 2).low for count in always]
        high = [clopper_pearson_interval(min(count * share, n), n, alpha / 2).high for count in ever]
        # Around the log ratio, as the linearised values are.
        down = price + math.log(low[1] / high[0]) if low[1] > 0 else -math.inf
        up = price + math.log(high[1] / low[0]) if low[0] > 0 else math.inf
        return Interval(down - math.log(ratio), up - math.log(ratio))

    what = "Clopper-Pearson bounds" if min(ever) < MIN_DISCORDANT_QUERIES else "Banerjee's interval of the log ratio"
    found = estimate_two_way_mean(linear, -math.inf, math.inf, bounds, what, len(seeds), excluded)

    def back(interval: Interval) -> Interval:
        return Interval(ratio * math.exp(interval.low), ratio * math.exp(interval.high))

    return IntervalEstimate(
        estimate=ratio,
        compute_interval=lambda alpha: back(found.compute_interval(alpha)),
        predict_interval=lambda n, s, alpha: back(found.predict_interval(n, s, alpha)),
        n_queries=queries,
        n_seeds=found.n_seeds,
        n_runs=len(seeds),
        exclusions=excluded,
        method=found.method,
    )


def estimate_share_difference(
    first: Array, second: Array, seeds: Sequence[int], unmatched_runs: int
) -> IntervalEstimate:
    """Share of ones in `first` minus that in `second`, matched runs (0 or 1 each).

    Exact: of the discordant pairs, the share that favours the first (Clopper-Pearson, so that its sign is McNemar's
    exact test), times the share of pairs that are discordant. Either end fails with at most alpha.
    """
    pairs = len(first)
    if not pairs:
        return make_undefined_estimate(Exclusions(runs=unmatched_runs), "no matched runs", is_run_level=True)
    up, down = float((first > second).sum()), float((first < second).sum())
    n_seeds = len(set(seeds))

    def at(share: float, alpha: float) -> Interval:
        n, higher, discordant = pairs * share, up * share, (up + down) * share
        some = clopper_pearson_interval(discordant, n, alpha)
        favour = clopper_pearson_interval(higher, discordant, alpha) if discordant else Interval(0.0, 1.0)
        low, high = 2 * favour.low - 1, 2 * favour.high - 1
        return Interval(low * (some.low if low > 0 else some.high), high * (some.high if high > 0 else some.low))

    return IntervalEstimate(
        estimate=float(first.mean() - second.mean()),
        compute_interval=lambda alpha: at(1.0, alpha),
        predict_interval=lambda n, s, alpha: at(s / n_seeds, alpha),
        n_queries=0,
        n_seeds=n_seeds,
        n_runs=pairs,
        exclusions=Exclusions(runs=unmatched_runs),
        method="exact, matched runs",
        is_run_level=True,
    )


def estimate_run_mean_difference(
    first: Array, second: Array, seeds: Sequence[int], unmatched_runs: int
) -> IntervalEstimate:
    """Mean of first - second over matched runs, averaged within a seed; Student's t over seeds. NaN pairs left out."""
    known = np.isfinite(first) & np.isfinite(second)
    lost = unmatched_runs + 2 * int((~known).sum())
    if not known.any():
        return make_undefined_estimate(Exclusions(runs=lost), "no matched runs with a value", is_run_level=True)
    kept = [seed for seed, there in zip(seeds, known, strict=True) if there]
    each = average_by_key((first - second)[known][None, :], kept)[0]
    n, mean = len(each), float(each.mean())
    deviation = float(each.std(ddof=1)) if n > 1 else math.nan

    def at(s: float, alpha: float) -> Interval:
        if n < 2:
            # One seed has no spread, and no interval.
            return UNDEFINED_INTERVAL
        half = float(special.stdtrit(s - 1, 1 - alpha / 2)) * deviation / math.sqrt(s)
        return Interval(mean - half, mean + half)

    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: at(n, alpha),
        predict_interval=lambda _, s, alpha: at(s, alpha) if s > 1 else UNDEFINED_INTERVAL,
        n_queries=0,
        n_seeds=n,
        n_runs=len(kept),
        exclusions=Exclusions(runs=lost),
        method="Student's t over seeds",
        is_run_level=True,
    )


def estimate_seed_spread_difference(
    first: Mapping[Hashable, Array], second: Mapping[Hashable, Array], resolution: float
) -> IntervalEstimate:
    """Standard deviation over seeds in the first arm minus that in the second; cells of the other axes -> values.

    Pooled over cells, each about its own mean; chi-square limits, joined by MOVER (Zou and Donner 2008). They take
    seeds as normal. Equal values cannot show less spread than their `resolution` lets them.
    """
    sides = []
    for cells in (first, second):
        kept = [values[np.isfinite(values)] for values in cells.values()]
        freedom = sum(len(values) - 1 for values in kept if len(values))
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in kept if len(values))
        sides.append((squares, freedom, sum(len(values) for values in kept), max(map(len, kept), default=0)))
    if min(side[1] for side in sides) < 1:
        return make_undefined_estimate(Exclusions(), "fewer than two runs of a cell", is_run_level=True)
    found = [max(math.sqrt(squares / freedom), resolution / math.sqrt(12)) for squares, freedom, _, _ in sides]
    mean = math.sqrt(sides[0][0] / sides[0][1]) - math.sqrt(sides[1][0] / sides[1][1])
    n_seeds = min(side[3] for side in sides)

    def at(share: float, alpha: float) -> Interval:
        limits = []
        for sd, (_, freedom, _, _) in zip(found, sides, strict=True):
            df = freedom * share
            # `special`, here and elsewhere: scipy.stats takes a second to import. Chi-square is a gamma variable.
            chi_squares = (2 * float(special.gammaincinv(df / 2, q)) for q in (1 - alpha / 2, alpha / 2))
            low, high = (sd * math.sqrt(df / value) for value in chi_squares)
            limits.append((low, high))
        (a, b), ((a_low, a_high), (b_low, b_high)) = found, limits
        down, up = math.hypot(a - a_low, b_high - b), math.hypot(a_high - a, b - b_low)
        return Interval(min(mean, a - b - down), max(mean, a - b + up))

    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: at(1.0, alpha),
        predict_interval=lambda _, s, alpha: at(max(s - 1, 0.5) / max(n_seeds - 1, 1), alpha),
        n_queries=0,
        n_seeds=n_seeds,
        n_runs=min(side[2] for side in sides),
        exclusions=Exclusions(),
        method="chi-square limits of each, joined (MOVER)",
        is_run_level=True,
    )


def _find_scored_queries(sides: Sequence[Array], unmatched_runs: int) -> tuple[Any, Exclusions]:
    """Which queries every run has a score for, and what that leaves out."""
    gone = np.concatenate([np.isnan(side) for side in sides], axis=1)
    asked = ~gone.all(axis=1)
    kept = ~gone.any(axis=1)
    return kept, Exclusions(queries=int((asked & ~kept).sum()), outcomes=int(gone[asked].sum()), runs=unmatched_runs)
