"""The seeds or queries that would settle an inconclusive claim, if its estimates and variances stay as observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeper.claims.comparison import Comparison, compute_refute_margin, compute_support_margin

MAX_SEEDS = 1_000
MAX_QUERIES = 1_000_000
"""The estimate of a claim that would need more lies at a boundary."""


@dataclass(frozen=True)
class RequiredSampleSize:
    """The sample size that would settle a claim one way or the other."""

    seeds: int | None
    """In total, on the present queries; None where more seeds alone do not settle it, or nothing is known."""
    more_seeds: int | None
    queries: int | None
    """In total, with the present seeds."""
    more_queries: int | None
    reason: str


def estimate_required_sample_size(comparisons: Sequence[Comparison]) -> RequiredSampleSize:
    """Estimate the sample size that settles every open comparison of a claim."""
    deciding = [c for c in comparisons if c.is_deciding]
    if any(math.isnan(c.estimate.estimate) for c in deciding):
        return make_unknown_sample_size("A comparison is undefined.")
    if min((c.estimate.n_seeds for c in deciding), default=0) < 2:
        return make_unknown_sample_size("One seed: the spread between training runs is unknown; run two or more.")
    still_open = [c for c in deciding if not c.is_established and not c.is_refuted]
    if not still_open:
        return make_unknown_sample_size("No comparison is open.")
    seeds = [_search_smallest_count(c.estimate.n_seeds, MAX_SEEDS, _make_seed_check(c)) for c in still_open]
    queries = [
        None
        if c.estimate.n_queries == 0
        else _search_smallest_count(c.estimate.n_queries, MAX_QUERIES, _make_query_check(c))
        for c in still_open
    ]
    more_seeds = _take_maximum(
        [None if s is None else s - c.estimate.n_seeds for s, c in zip(seeds, still_open, strict=True)]
    )
    more_queries = _take_maximum(
        [None if q is None else q - c.estimate.n_queries for q, c in zip(queries, still_open, strict=True)]
    )
    all_seeds, all_queries = _take_maximum(seeds), _take_maximum(queries)
    if all_seeds is None and all_queries is None:
        reason = "Neither more seeds nor more queries alone: the estimate is too close to a boundary."
    else:
        reason = "This assumes that the estimates and variances stay as observed."
        if all_seeds is None:
            reason += " More seeds alone do not settle it."
        if all_queries is None:
            reason += " More queries alone do not settle it."
    return RequiredSampleSize(all_seeds, more_seeds, all_queries, more_queries, reason)


def make_unknown_sample_size(reason: str) -> RequiredSampleSize:
    """Return a result without numbers."""
    return RequiredSampleSize(None, None, None, None, reason)


def _make_seed_check(comparison: Comparison) -> Callable[[int], bool]:
    return lambda n: _is_settled(comparison, comparison.estimate.n_queries, n)


def _make_query_check(comparison: Comparison) -> Callable[[int], bool]:
    return lambda n: _is_settled(comparison, n, comparison.estimate.n_seeds)


def _is_settled(comparison: Comparison, queries: int, seeds: int) -> bool:
    supporting = comparison.predict_interval(queries, seeds, comparison.estimate.alpha)
    refuting = comparison.predict_interval(queries, seeds, comparison.refute_alpha)
    return (
        compute_support_margin(comparison.bounds, supporting) > 0
        or compute_refute_margin(comparison.bounds, refuting) > 0
    )


def _search_smallest_count(current: int, limit: int, is_settled: Callable[[int], bool]) -> int | None:
    """Return the smallest number above `current` that settles the comparison; None up to `limit`."""
    low, step = current, 1
    while not is_settled(low + step):
        low, step = low + step, 2 * step
        if low >= limit:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_settled(middle) else (middle, high)
    return high if high <= limit else None


def _take_maximum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
