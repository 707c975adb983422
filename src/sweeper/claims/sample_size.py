"""What would settle an open claim: more seeds, or more queries, were the estimates and variances as observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeper.claims.comparison import Comparison, compute_refute_margin, compute_support_margin

MAX_SEEDS = 1_000
MAX_QUERIES = 1_000_000
"""A claim that would take more is called out of reach: its estimate is at the boundary."""


@dataclass(frozen=True)
class RequiredSampleSize:
    """Seeds in all on today's queries, or queries in all with today's seeds, that would settle the claim one way or the
    other; `more_*`: beyond those there are. None where that alone cannot, or cannot be said; `reason` says why."""

    seeds: int | None
    more_seeds: int | None
    queries: int | None
    more_queries: int | None
    reason: str


def estimate_required_sample_size(comparisons: Sequence[Comparison]) -> RequiredSampleSize:
    """For all open deciding comparisons; the largest of what each needs."""
    deciding = [c for c in comparisons if c.is_deciding]
    if any(math.isnan(c.estimate.estimate) for c in deciding):
        return make_unknown_sample_size("A comparison is undefined.")
    if min((c.estimate.n_seeds for c in deciding), default=0) < 2:
        return make_unknown_sample_size(
            "One seed: the spread between training runs is unknown; two seeds are the least."
        )
    still_open = [c for c in deciding if not c.is_established and not c.is_refuted]
    if not still_open:
        return make_unknown_sample_size("No comparison is open.")
    seeds = [_search_smallest_count(c, c.estimate.n_seeds, MAX_SEEDS, _make_seed_check(c)) for c in still_open]
    queries = [
        None
        if c.estimate.n_queries == 0
        else _search_smallest_count(c, c.estimate.n_queries, MAX_QUERIES, _make_query_check(c))
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
        reason = "If the estimates and variances stay as observed."
        if all_seeds is None:
            reason += " More seeds alone do not settle it."
        if all_queries is None:
            reason += " More queries alone do not settle it."
    return RequiredSampleSize(all_seeds, more_seeds, all_queries, more_queries, reason)


def make_unknown_sample_size(reason: str) -> RequiredSampleSize:
    """No number, and why."""
    return RequiredSampleSize(None, None, None, None, reason)


def _make_seed_check(comparison: Comparison) -> Callable[[int], bool]:
    return lambda n: _is_settled(comparison, comparison.estimate.n_queries, n)


def _make_query_check(comparison: Comparison) -> Callable[[int], bool]:
    return lambda n: _is_settled(comparison, n, comparison.estimate.n_seeds)


def _is_settled(comparison: Comparison, queries: int, seeds: int) -> bool:
    expected = comparison.predict_interval(queries, seeds, comparison.estimate.alpha)
    against = comparison.predict_interval(queries, seeds, comparison.refute_alpha)
    return (
        compute_support_margin(comparison.bounds, expected) > 0 or compute_refute_margin(comparison.bounds, against) > 0
    )


def _search_smallest_count(
    comparison: Comparison, current: int, limit: int, settles: Callable[[int], bool]
) -> int | None:
    """Smallest number above `now` at which the comparison is settled; None up to `most`."""
    low, step = current, 1
    while not settles(low + step):
        low, step = low + step, 2 * step
        if low >= limit:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high if high <= limit else None


def _take_maximum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
