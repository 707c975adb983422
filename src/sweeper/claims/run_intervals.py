"""Interval estimates of quantities over runs: exact, chi-square or Student limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from sweeper.claims.interval_estimates import IntervalEstimate, make_undefined_estimate
from sweeper.statistics.aliases import Array
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval, clopper_pearson_interval
from sweeper.statistics.paired import Exclusions, average_by_key


def estimate_share_difference(
    first: Array, second: Array, seeds: Sequence[int], unmatched_runs: int
) -> IntervalEstimate:
    """Estimate the share of ones in `first` minus that in `second`, matched runs of 0 or 1.

    Exact: the share of the discordant pairs that favors the first (Clopper-Pearson, so that its sign is that of
    McNemar's exact test), times the share of pairs that are discordant. Either end fails with at most alpha.
    """
    pairs = len(first)
    if not pairs:
        return make_undefined_estimate(Exclusions(runs=unmatched_runs), "no matched runs", is_run_level=True)
    up, down = float((first > second).sum()), float((first < second).sum())
    n_seeds = len(set(seeds))

    def compute_interval(share: float, alpha: float) -> Interval:
        n, higher, discordant = pairs * share, up * share, (up + down) * share
        differing = clopper_pearson_interval(discordant, n, alpha)
        favor = clopper_pearson_interval(higher, discordant, alpha) if discordant else Interval(0.0, 1.0)
        low, high = 2 * favor.low - 1, 2 * favor.high - 1
        low *= differing.low if low > 0 else differing.high
        high *= differing.high if high > 0 else differing.low
        return Interval(low, high)

    return IntervalEstimate(
        estimate=float(first.mean() - second.mean()),
        compute_interval=lambda alpha: compute_interval(1.0, alpha),
        predict_interval=lambda _, seeds, alpha: compute_interval(seeds / n_seeds, alpha),
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
    )


def estimate_seed_spread_difference(
    first: Mapping[tuple[object, ...], Array], second: Mapping[tuple[object, ...], Array], resolution: float
) -> IntervalEstimate:
    """Estimate the standard deviation over seeds in the first arm minus that in the second.

    Pooled over cells, each about its own mean; chi-square limits, joined by MOVER (Zou and Donner 2008), which take
    seeds as normal.

    Args:
        first: cell of the other axes -> values of the first arm's runs.
        second: the same of the second arm.
        resolution: smallest step of a value; equal values show no less spread than it allows.
    """
    sides = []
    for cells in (first, second):
        finite = [values[np.isfinite(values)] for values in cells.values()]
        degrees = sum(len(values) - 1 for values in finite if len(values))
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in finite if len(values))
        sides.append((squares, degrees, sum(len(values) for values in finite), max(map(len, finite), default=0)))
    if min(side[1] for side in sides) < 1:
        return make_undefined_estimate(Exclusions(), "fewer than two runs of a cell", is_run_level=True)
    deviations = [max(math.sqrt(squares / degrees), resolution / math.sqrt(12)) for squares, degrees, _, _ in sides]
    mean = math.sqrt(sides[0][0] / sides[0][1]) - math.sqrt(sides[1][0] / sides[1][1])
    n_seeds = min(side[3] for side in sides)

    def compute_interval(share: float, alpha: float) -> Interval:
        limits = []
        for deviation, (_, degrees, _, _) in zip(deviations, sides, strict=True):
            df = degrees * share
            # Chi-square is a gamma variable; `scipy.stats` takes a second to import, `scipy.special` does not.
            chi_squares = (2 * float(scipy.special.gammaincinv(df / 2, q)) for q in (1 - alpha / 2, alpha / 2))
            low, high = (deviation * math.sqrt(df / value) for value in chi_squares)
            limits.append((low, high))
        (a, b), ((a_low, a_high), (b_low, b_high)) = deviations, limits
        down, up = math.hypot(a - a_low, b_high - b), math.hypot(a_high - a, b - b_low)
        return Interval(min(mean, a - b - down), max(mean, a - b + up))

    return IntervalEstimate(
        estimate=mean,
        compute_interval=lambda alpha: compute_interval(1.0, alpha),
        predict_interval=lambda _, seeds, alpha: compute_interval(max(seeds - 1, 0.5) / max(n_seeds - 1, 1), alpha),
        n_queries=0,
        n_seeds=n_seeds,
        n_runs=min(side[2] for side in sides),
        exclusions=Exclusions(),
        method="chi-square limits of each, joined (MOVER)",
        is_run_level=True,
    )
