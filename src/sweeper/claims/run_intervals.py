"""Interval estimates of quantities over runs: exact or Student limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from sweeper.claims.interval_estimates import IntervalEstimate, SeedAssumption, make_undefined_estimate
from sweeper.claims.probability import make_normal_posterior, make_share_posterior
from sweeper.statistics.aliases import Array
from sweeper.statistics.exact_shares import TwoShares, compute_share_interval
from sweeper.statistics.independent_seeds import compute_critical_value, contradicts_ratio
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval
from sweeper.statistics.paired import Exclusions, average_by_key

MIN_SPREAD_RUNS = 3
"""With fewer finished runs of a cell their spread says nothing."""


def estimate_share_difference(
    first: Sequence[float], second: Sequence[float], n_seeds: int, excluded_runs: int
) -> IntervalEstimate:
    """Estimate the share of ones in `first` minus that in `second`, the runs of two arms as 0 or 1.

    The runs are not paired: `exact_shares.compute_share_interval`.

    Args:
        first: the first arm's runs.
        second: the second arm's runs.
        n_seeds: seeds of the arm with fewer.
        excluded_runs: runs that are in neither.
    """
    sizes = len(first), len(second)
    if not all(sizes):
        return make_undefined_estimate(
            Exclusions(runs=excluded_runs + sum(sizes)), "an arm has no finished run", is_run_level=True
        )
    observed = TwoShares(int(sum(first)), sizes[0], int(sum(second)), sizes[1])

    def predict_interval(_: float, seeds: float, alpha: float) -> Interval:
        scaled = [round(count * seeds / n_seeds) for count in (observed.first, sizes[0], observed.second, sizes[1])]
        return compute_share_interval(TwoShares(*scaled), alpha)

    return IntervalEstimate(
        estimate=observed.difference,
        compute_interval=lambda alpha: compute_share_interval(observed, alpha),
        predict_interval=predict_interval,
        n_queries=0,
        n_seeds=n_seeds,
        n_runs=sum(sizes),
        exclusions=Exclusions(runs=excluded_runs),
        method="exact, unpaired runs (Chan and Zhang)",
        is_run_level=True,
        posterior=make_share_posterior(observed),
    )


def estimate_run_mean_difference(
    first: Array, second: Array, seeds: Sequence[int], unmatched_runs: int
) -> IntervalEstimate:
    """Estimate the mean of first - second over matched runs.

    The runs of a seed are averaged; the interval is Student's t over seeds. Pairs with NaN are left out.
    """
    known = np.isfinite(first) & np.isfinite(second)
    n_lost = unmatched_runs + 2 * int((~known).sum())
    if not known.any():
        return make_undefined_estimate(Exclusions(runs=n_lost), "no matched runs with a value", is_run_level=True)
    known_seeds = [seed for seed, is_known in zip(seeds, known, strict=True) if is_known]
    by_seed = average_by_key((first - second)[known][None, :], known_seeds)[0]
    n, mean = len(by_seed), float(by_seed.mean())
    deviation = float(by_seed.std(ddof=1)) if n > 1 else math.nan

    def compute_interval(n_seeds: float, alpha: float) -> Interval:
        if n < 2:
            # One seed has no spread, and no interval.
            return UNDEFINED_INTERVAL
        half = float(scipy.special.stdtrit(n_seeds - 1, 1 - alpha / 2)) * deviation / math.sqrt(n_seeds)
        return Interval(mean - half, mean + half)

    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: compute_interval(n, alpha),
        predict_interval=lambda _, seeds, alpha: compute_interval(seeds, alpha) if seeds > 1 else UNDEFINED_INTERVAL,
        n_queries=0,
        n_seeds=n,
        n_runs=len(known_seeds),
        exclusions=Exclusions(runs=n_lost),
        method="Student's t over seeds",
        is_run_level=True,
        posterior=make_normal_posterior(mean, [(deviation**2 / n, n - 1)], (-math.inf, math.inf)) if n > 1 else None,
    )


def estimate_independent_run_difference(
    first: Sequence[tuple[int, float]], second: Sequence[tuple[int, float]], sd_ratio: float, unmatched_runs: int
) -> IntervalEstimate:
    """Estimate the mean of one arm's runs minus that of another's, whose seeds are unrelated.

    The runs of a seed are averaged; the interval is that of `independent_seeds`, without queries.

    Args:
        first: (seed, value) of the first arm's runs.
        second: the same of the second arm.
        sd_ratio: largest ratio of the arms' standard deviations over seeds to allow for.
        unmatched_runs: runs that are in neither.
    """
    sides = []
    for runs in (first, second):
        finite = [run for run in runs if math.isfinite(run[1])]
        values = np.array([[value for _, value in finite]])
        sides.append(average_by_key(values, [seed for seed, _ in finite])[0] if finite else np.empty(0))
    if not all(map(len, sides)):
        lost = Exclusions(runs=unmatched_runs + len(first) + len(second))
        return make_undefined_estimate(lost, "an arm has no run with a value", is_run_level=True)
    mean, counts = float(sides[0].mean() - sides[1].mean()), (len(sides[0]), len(sides[1]))
    has_spread = min(counts) > 1
    variances = [float(side.var(ddof=1)) if has_spread else math.nan for side in sides]

    def compute_interval(share: float, alpha: float, ratio: float = sd_ratio) -> Interval:
        if not has_spread:
            return UNDEFINED_INTERVAL
        n, m = (count * share for count in counts)
        half = compute_critical_value(n, m, ratio, alpha) * math.sqrt(variances[0] / n + variances[1] / m)
        return Interval(mean - half, mean + half)

    assumption = posterior = None
    if has_spread:
        low, high = sorted(math.sqrt(variance) for variance in variances)
        observed = high / low if low else math.inf if high else math.nan
        terms = [(variance / n, n - 1) for variance, n in zip(variances, counts, strict=True)]
        posterior = make_normal_posterior(mean, terms, (-math.inf, math.inf))
        assumption = SeedAssumption(
            sd_ratio,
            observed,
            contradicts_ratio(observed, counts, sd_ratio),
            lambda alpha: compute_interval(1.0, alpha, math.inf),
        )
    n_seeds = min(counts)
    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: compute_interval(1.0, alpha),
        predict_interval=lambda _, seeds, alpha: compute_interval(max(seeds, 2) / n_seeds, alpha),
        n_queries=0,
        n_seeds=n_seeds,
        n_runs=len(first) + len(second),
        exclusions=Exclusions(runs=unmatched_runs),
        method="interval for independent seeds",
        is_run_level=True,
        seed_assumption=assumption,
        posterior=posterior,
    )


def estimate_spread_difference(
    first: Mapping[tuple[object, ...], Array], second: Mapping[tuple[object, ...], Array], resolution: float
) -> IntervalEstimate:
    """Estimate how much more the runs of the first arm spread over seeds than those of the second.

    Spread is the mean distance from the median of a cell, compared as Brown and Forsythe (1974) do, with Welch's
    degrees of freedom: unlike limits of standard deviations it does not take seeds as normal.

    Args:
        first: cell of the other axes -> values of the first arm's finished runs.
        second: the same of the second arm.
        resolution: smallest step of a value; equal values show no less spread than it allows.
    """
    sides = []
    for cells in (first, second):
        finite = [values[np.isfinite(values)] for values in cells.values()]
        distances = [np.abs(values - np.median(values)) for values in finite if len(values) >= MIN_SPREAD_RUNS]
        sides.append(np.concatenate(distances) if distances else np.empty(0))
    n_runs = sum(map(len, sides))
    if not all(map(len, sides)):
        reason = f"not applicable: fewer than {MIN_SPREAD_RUNS} finished runs"
        return make_undefined_estimate(Exclusions(), reason, is_run_level=True)
    mean = float(sides[0].mean() - sides[1].mean())
    variances = [max(float(side.var(ddof=1)), resolution**2 / 12) / len(side) for side in sides]
    total = sum(variances)
    n_seeds = min(max(int(np.isfinite(v).sum()) for v in cells.values()) for cells in (first, second))

    def compute_interval(share: float, alpha: float) -> Interval:
        if not total:
            return Interval(mean, mean)
        weights = [(v / total) ** 2 / max(len(side) * share - 1, 1) for v, side in zip(variances, sides, strict=True)]
        half = float(scipy.special.stdtrit(1 / sum(weights), 1 - alpha / 2)) * math.sqrt(total / share)
        return Interval(mean - half, mean + half)

    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: compute_interval(1.0, alpha),
        predict_interval=lambda _, seeds, alpha: compute_interval(seeds / n_seeds, alpha),
        n_queries=0,
        n_seeds=n_seeds,
        n_runs=n_runs,
        exclusions=Exclusions(),
        method="Brown and Forsythe's test, Welch's degrees of freedom",
        is_run_level=True,
    )
