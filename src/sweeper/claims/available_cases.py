"""The scores that a comparison rests on: every query with a score in each arm, its gaps filled from the rest.

One unscored outcome used to drop its query from every run: 5 % unscored outcomes in twelve runs leave 54 % of the
queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweeper.statistics.aliases import Array, BoolArray
from sweeper.statistics.paired import Exclusions

MIN_SCORED_SHARE = 0.5
"""A run with a smaller share of scored queries fills no gap: then only queries that all runs have a score for count."""


@dataclass(frozen=True)
class AvailableScores:
    """The scores of each arm on the queries that count."""

    sides: list[Array]
    """(queries, runs) of each arm. An unscored outcome has the value that its query and its run predict, which leaves
    the means of both as they are: query's mean + run's mean - mean."""
    plain_sides: list[Array]
    """The same with the query's own mean in the gaps, for counting queries on which runs differ."""
    is_kept: BoolArray
    """(queries,): which of the queries given count."""
    exclusions: Exclusions

    @property
    def is_empty(self) -> bool:
        """Whether no query counts."""
        return not len(self.sides[0])


def select_available_scores(sides: Sequence[Array], unmatched_runs: int) -> AvailableScores:
    """Select the queries of a comparison, and fill the gaps.

    An interval's variance holds the interaction of queries and runs twice and subtracts it once; filled values have
    none, so that it is too wide rather than too narrow.

    Args:
        sides: passes (queries, runs) of each arm; NaN where not scored.
        unmatched_runs: runs that have no counterpart.

    Returns:
        The scores. With a run that has a score for less than half of the queries, those that all runs have.

    Example:
        >>> found = select_available_scores([np.array([[1.0, np.nan], [0.0, 0.0], [1.0, 1.0]])], 0)
        >>> found.exclusions.outcomes, found.sides[0][0].tolist()
        (1, [1.0, 0.9])
    """
    is_scored = [~np.isnan(side) for side in sides]
    has_score = np.concatenate(is_scored, axis=1).any(axis=1)
    is_available = np.logical_and.reduce([scored.any(axis=1) for scored in is_scored])
    if not _can_fill(is_scored, is_available):
        is_available = np.logical_and.reduce([scored.all(axis=1) for scored in is_scored])
    kept = [side[is_available] for side in sides]
    unscored = sum(int((~scored[has_score]).sum()) for scored in is_scored)
    left_out = int((has_score & ~is_available).sum())
    exclusions = Exclusions(queries=left_out, outcomes=unscored, runs=unmatched_runs)
    filled, plain = [_fill(side) for side in kept], [_fill_by_query(side) for side in kept]
    return AvailableScores(filled, plain, is_available, exclusions)


def _can_fill(is_scored: Sequence[BoolArray], is_available: BoolArray) -> bool:
    """Return whether every run has a score for enough of the available queries."""
    return bool(is_available.any()) and all(
        (scored[is_available].mean(axis=0) >= MIN_SCORED_SHARE).all() for scored in is_scored
    )


def _fill(scores: Array) -> Array:
    """Fill gaps by the additive model of queries and runs."""
    if not np.isnan(scores).any():
        return scores
    by_query, by_run = np.nanmean(scores, axis=1, keepdims=True), np.nanmean(scores, axis=0, keepdims=True)
    return np.where(np.isnan(scores), by_query + by_run - np.nanmean(scores), scores)


def _fill_by_query(scores: Array) -> Array:
    if not np.isnan(scores).any():
        return scores
    return np.where(np.isnan(scores), np.nanmean(scores, axis=1, keepdims=True), scores)
