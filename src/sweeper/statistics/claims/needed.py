"""What would settle an open claim: more seeds, or more queries, were the estimates and variances as observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeper.statistics.claims.component import Component, against_of, slack_of

MOST_SEEDS = 1_000
MOST_QUERIES = 1_000_000
"""A claim that would take more is called out of reach: its estimate is at the boundary."""


@dataclass(frozen=True)
class Needed:
    """Seeds in all on today's queries, or queries in all with today's seeds, that would settle the claim one way or the
    other; `more_*`: beyond those there are. None where that alone cannot, or cannot be said; `reason` says why."""

    seeds: int | None
    more_seeds: int | None
    queries: int | None
    more_queries: int | None
    reason: str


def needed_for(components: Sequence[Component]) -> Needed:
    """For all open deciding comparisons; the largest of what each needs."""
    deciding = [c for c in components if c.decides]
    if any(math.isnan(c.estimate.estimate) for c in deciding):
        return nothing("A comparison is undefined.")
    if min((c.estimate.n_seeds for c in deciding), default=0) < 2:
        return nothing("One seed: the spread between training runs is unknown; two seeds are the least.")
    still_open = [c for c in deciding if not c.shown and not c.refuted]
    if not still_open:
        return nothing("No comparison is open.")
    seeds = [_smallest(c, c.estimate.n_seeds, MOST_SEEDS, _by_seeds(c)) for c in still_open]
    queries = [
        None if c.estimate.n_queries == 0 else _smallest(c, c.estimate.n_queries, MOST_QUERIES, _by_queries(c))
        for c in still_open
    ]
    more_seeds = _most([None if s is None else s - c.estimate.n_seeds for s, c in zip(seeds, still_open, strict=True)])
    more_queries = _most(
        [None if q is None else q - c.estimate.n_queries for q, c in zip(queries, still_open, strict=True)]
    )
    all_seeds, all_queries = _most(seeds), _most(queries)
    if all_seeds is None and all_queries is None:
        reason = "Neither more seeds nor more queries alone: the estimate is too close to a boundary."
    else:
        reason = "If the estimates and variances stay as observed."
        if all_seeds is None:
            reason += " More seeds alone do not settle it."
        if all_queries is None:
            reason += " More queries alone do not settle it."
    return Needed(all_seeds, more_seeds, all_queries, more_queries, reason)


def nothing(reason: str) -> Needed:
    """No number, and why."""
    return Needed(None, None, None, None, reason)


def _by_seeds(component: Component) -> Callable[[int], bool]:
    return lambda n: _settled(component, component.estimate.n_queries, n)


def _by_queries(component: Component) -> Callable[[int], bool]:
    return lambda n: _settled(component, n, component.estimate.n_seeds)


def _settled(component: Component, queries: int, seeds: int) -> bool:
    expected = component.predict(queries, seeds, component.estimate.alpha)
    against = component.predict(queries, seeds, component.level)
    return slack_of(component.bounds, expected) > 0 or against_of(component.bounds, against) > 0


def _smallest(component: Component, now: int, most: int, settled: Callable[[int], bool]) -> int | None:
    """Smallest number above `now` at which the comparison is settled; None up to `most`."""
    low, step = now, 1
    while not settled(low + step):
        low, step = low + step, 2 * step
        if low >= most:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high if high <= most else None


def _most(found: Sequence[int | None]) -> int | None:
    known = [value for value in found if value is not None]
    return max(known) if len(known) == len(found) else None
