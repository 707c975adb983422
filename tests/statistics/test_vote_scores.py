from __future__ import annotations

import math

import numpy as np
import pytest
from query_votes import query

from sweeper.statistics import score_stabletoolbench, score_strict, score_tooleval


@pytest.mark.parametrize(
    ("votes", "expected"),
    [("s", 1), ("u", 0), ("?", 0), ("ss-", 1), ("su", 0), ("s?", 0), ("ssu", 1), ("s??", 0), ("suu", 0), ("ssuu", 0)],
)
def test_score_strict_requires_more_than_half_of_scored_votes(votes: str, expected: float) -> None:
    assert score_strict(query(votes)) == expected


@pytest.mark.parametrize(
    ("votes", "expected"), [("s", 1), ("u", 0), ("?", 0.5), ("su", 0.5), ("s?-", 0.75), ("s?u", 0.5), ("uu?", 1 / 6)]
)
def test_score_stabletoolbench_is_the_mean_of_scored_votes(votes: str, expected: float) -> None:
    assert score_stabletoolbench(query(votes)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("votes", "task", "answered", "expected"),
    [
        ("s", "unsure", True, 1),
        ("u", "solvable", True, 0),
        ("u", None, True, 0),
        ("u", "unsolvable", True, 1),
        ("?", "unsolvable", True, 1),
        ("su", None, True, 1),
        ("suu", None, True, 0),
        ("su--", "solvable", True, 1),
        ("s", None, False, 0),
        ("u", "unsolvable", False, 0),
        ("?", "unsure", False, 0),
    ],
)
def test_score_tooleval_without_coins(votes: str, task: str | None, answered: bool, expected: float) -> None:
    assert {score_tooleval(query(votes, task, answered), seed) for seed in range(30)} == {expected}


@pytest.mark.parametrize(("votes", "task"), [("?", "solvable"), ("?", None), ("?", "unsure"), ("u", "unsure")])
def test_score_tooleval_flips_a_fair_coin_for_unsure_votes(votes: str, task: str | None) -> None:
    thrown = [score_tooleval(query(votes, task, query_id=str(i))) for i in range(2000)]
    assert set(thrown) == {0.0, 1.0} and 0.46 < np.mean(thrown) < 0.54, "five standard errors are 0.056"
    again = [score_tooleval(query(votes, task, query_id=str(i)), seed=1) for i in range(2000)]
    assert 0.44 < np.mean(np.equal(thrown, again)) < 0.56, "another seed, other coins"


def test_score_tooleval_flips_a_coin_per_vote_and_subset() -> None:
    both = [score_tooleval(query("??", "solvable", query_id=str(i))) for i in range(2000)]
    assert 0.71 < np.mean(both) < 0.79, "two coins fail together a quarter of the time; one coin would half of it"
    other = [score_tooleval(query("??", "solvable", query_id=str(i), subset="G2")) for i in range(2000)]
    assert other != both


def test_scores_without_scored_votes_are_undefined() -> None:
    assert all(
        math.isnan(definition(query("--"))) for definition in (score_strict, score_stabletoolbench, score_tooleval)
    )
