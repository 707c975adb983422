"""Unscored outcomes: what counts, and that intervals still cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from claim_cases import REACHES, SPOT, decide_runs, size_runs
from claim_tables import seeds, tables

from sweeper.claims.available_cases import select_available_scores
from sweeper.claims.decide import decide_claim
from sweeper.claims.interval_estimates import estimate_score_difference
from sweeper.claims.tables import StudyEvidence

GAP = math.nan


def test_scored_tables_stay_as_they_are() -> None:
    scores = np.random.default_rng(0).integers(0, 2, (6, 3)).astype(float)
    found = select_available_scores([scores, 1 - scores], 2)
    assert (found.sides[0] == scores).all() and (found.plain_sides[1] == 1 - scores).all()
    assert (found.exclusions.queries, found.exclusions.outcomes, found.exclusions.runs) == (0, 0, 2)


def test_gaps_have_what_query_and_run_predict() -> None:
    scores = np.array([[1, 1, GAP], [0, 1, 1], [0, 0, 0], [1, 1, 1]], dtype=float)
    found = select_available_scores([scores], 0)
    expected = 1.0 + np.nanmean(scores[:, 2]) - np.nanmean(scores)
    assert found.sides[0][0, 2] == pytest.approx(expected) and found.plain_sides[0][0, 2] == 1.0
    assert found.exclusions.outcomes == 1 and found.exclusions.queries == 0


def test_a_query_needs_a_score_in_each_arm() -> None:
    first = np.array([[1, 0], [GAP, GAP], [1, 1], [0, 0]], dtype=float)
    second = np.array([[1, GAP], [1, 1], [0, 0], [GAP, GAP]], dtype=float)
    found = select_available_scores([first, second], 0)
    assert len(found.sides[0]) == 2 and found.exclusions.queries == 2 and found.exclusions.outcomes == 5
    assert select_available_scores([first[[1]], second[[1]]], 0).is_empty


def test_a_run_without_most_scores_fills_nothing() -> None:
    scores = np.array([[1, 0, GAP], [0, 1, GAP], [1, 1, GAP], [0, 0, 1]], dtype=float)
    found = select_available_scores([scores], 0)
    assert found.sides[0].tolist() == [[0, 0, 1]] and found.exclusions.queries == 3


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_intervals_cover_with_unscored_outcomes(share: float) -> None:
    """Paired runs of two arms with effects of queries and seeds: at least 95 % less Monte-Carlo error (400 studies)."""
    rng, studies, covered = np.random.default_rng(4), 400, 0
    for _ in range(studies):
        queries = rng.normal(0, 1, (120, 1))
        arms = []
        for gap in (0.3, 0.0):
            runs = rng.normal(gap, 0.3, (1, 4))
            passed = (queries + runs + rng.normal(0, 1, (120, 4)) > 0).astype(float)
            arms.append(np.where(rng.random((120, 4)) < share, GAP, passed))
        found = estimate_score_difference(*arms, range(4)).compute_interval(0.05)
        # Marginal rates of the two arms: probit with a total variance of 1 + 1 + 0.09.
        covered += found.low <= 0.5 * math.erf(0.3 / math.sqrt(2.09) / math.sqrt(2)) <= found.high
    assert covered / studies >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / studies)


def test_few_unscored_outcomes_keep_nearly_all_queries() -> None:
    """Twelve runs with 5 % unscored outcomes: 54 % of the queries have a score in every run."""
    trials, outcomes = tables(size_runs(0.5, 0.8, 0.79, count=4))
    gaps = np.random.default_rng(1).random(len(outcomes)) < 0.05
    found = decide_claim(
        SPOT, StudyEvidence(trials, outcomes.assign(passed=outcomes["passed"].mask(gaps))), with_robustness_checks=True
    )
    whole = decide_claim(SPOT, StudyEvidence(trials, outcomes), with_robustness_checks=False)
    assert found.n_queries == 600 and found.label == whole.label == "supported"
    assert found.estimate == pytest.approx(whole.estimate, abs=0.01)
    assert "outcomes are unscored" in found.reason and found.exclusions.outcomes > 100
    bounds = {check.name: check for check in found.robustness_checks if check.name.startswith("unscored")}
    assert list(bounds) == ["unscored outcomes fail", "unscored outcomes pass"]
    assert all(check.n_queries == 600 and "unscored outcomes" in check.reason for check in bounds.values())


def test_bounds_are_shown_only_where_something_is_unscored() -> None:
    found = decide_runs(REACHES, seeds(3, [0.8, 0.81, 0.82]), with_robustness_checks=True)
    assert not any(check.name.startswith("unscored") for check in found.robustness_checks)
