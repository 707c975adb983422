"""Interval estimates over queries and seeds against closed forms."""

from __future__ import annotations

from claim_cases import size_runs
from claim_tables import tables

from sweeper.claims import interval_estimates
from sweeper.statistics import build_pass_matrix, estimate_paired_difference
from sweeper.statistics.paired import match_runs


def test_pass_rate_difference_equals_estimate_paired_difference() -> None:
    trials, outcomes = tables(size_runs(0.5, [0.6, 0.8, 0.9], 0.8))
    matrix, pairing = build_pass_matrix(trials, outcomes), match_runs(trials, "model", "middle", "small")
    for alpha in (0.05, 0.01):
        mine = interval_estimates.estimate_pass_rate_difference(matrix, pairing).estimate_at_level(alpha)
        theirs = estimate_paired_difference(matrix, pairing, alpha=alpha)
        for name in ("estimate", "low", "high", "n", "n_queries", "n_seeds", "exclusions"):
            assert getattr(mine, name) == getattr(theirs, name), name
