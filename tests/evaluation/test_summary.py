"""Summaries: means over queries, their document, and their metrics."""

from __future__ import annotations

import math

import pytest
from scripted_agents import make_evaluation

from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.outcomes_table import build_outcomes_table
from sweeper.evaluation.summary import EvaluationSummary, extract_metrics, summarize_outcomes

EPISODES = [
    Episode("1", "a", calls=[("f", "{}", "x"), ("Finish", "{}", "")], ended="answered", tokens=10),
    Episode("2", "a", calls=[("f", "{}", "x")] * 3, ended="steps", tokens=20, hallucinated=1),
    Episode("1", "b", ended="steps", tokens=0),
]
VOTES = [
    [Vote("j", 0, "solved", ""), Vote("j", 1, "solved", ""), Vote("j", 2, "unsolved", "")],
    [Vote("j", 0, "unsure", "")],
    [Vote("j", 0, None, "timeout")],
]


@pytest.fixture
def summary() -> EvaluationSummary:
    table = build_outcomes_table("f", "j", EPISODES, VOTES)
    return summarize_outcomes(table, suite="s", eval_seconds=1.5)


def test_summarize_outcomes_averages_over_queries(summary: EvaluationSummary) -> None:
    assert summary.pass_rate == 0.5, "by majority, of the two scored queries"
    assert (summary.queries, summary.unscored, summary.subsets) == (3, 1, {"a": 0.5, "b": None})
    assert (summary.finished, summary.hallucinated, summary.incoherent) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (summary.calls_per_query, summary.tokens_per_query) == pytest.approx((4 / 3, 10))


def test_document_keeps_its_keys_and_round_trips(summary: EvaluationSummary) -> None:
    document = summary.to_document()
    assert list(document) == [
        *("pass_rate", "finished", "valid_action", "valid_json", "hallucinated", "overgenerated", "incoherent"),
        *("calls_per_query", "tokens_per_query", "queries", "unscored", "subsets", "suite", "eval_seconds"),
    ]
    assert EvaluationSummary.from_document(document) == summary
    limited = EvaluationSummary.from_document(document | {"out_of_memory_at": [8, 4], "unknown": 1})
    assert limited.out_of_memory_at == (8, 4)
    assert limited.to_document() == document | {"out_of_memory_at": [8, 4]}


def test_extract_metrics_names_validation_numbers_differently(summary: EvaluationSummary) -> None:
    test = extract_metrics(summary, make_evaluation())
    assert (test["pass_rate"], test["eval_seconds"]) == (0.5, 1.5)
    assert not {"subsets", "suite"} & set(test)
    validation = extract_metrics(summary, make_evaluation(split="validation"))
    assert validation == {"val_pass_rate": 0.5, "val_eval_seconds": 1.5}


def test_extract_metrics_leaves_out_numbers_that_an_older_file_lacks() -> None:
    old = EvaluationSummary.from_document({"pass_rate": 0.25, "eval_seconds": 2.0})
    assert math.isnan(old.incoherent)
    assert extract_metrics(old, make_evaluation()) == {"pass_rate": 0.25, "eval_seconds": 2.0}
