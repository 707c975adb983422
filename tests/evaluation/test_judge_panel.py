"""Panels of judges, and the report of several judges."""

from __future__ import annotations

import pytest
from answer_documents import answer
from scripted_agents import DATA

from sweeper.errors import StoppedError, UsageError
from sweeper.evaluation.judge_panel import JudgePanel, PhaseProgress, judge_with_panel, make_stopped_error
from sweeper.evaluation.judges import JudgeContext

ANSWERS = [answer(query_id="1"), answer(query_id="2", final="")]


def test_panel_rejects_unknown_judges() -> None:
    with pytest.raises(UsageError, match="no judge of this name"):
        JudgePanel(("rules", "pairwise"), JudgeContext(DATA))


def test_panel_builds_each_judge_once() -> None:
    judges = JudgePanel(("rules", "rules"), JudgeContext(DATA)).make_judges()
    assert [judge.name for judge in judges] == ["rules"]


def test_report_has_rates_usage_problems_and_details() -> None:
    shares: list[float] = []
    judges = JudgePanel(("rules",), JudgeContext(DATA)).make_judges(ANSWERS)
    report = judge_with_panel(ANSWERS, judges, PhaseProgress(shares.append, 1), missing=[("G1_tool", "3")])
    document = report.to_document()
    assert (document["judge"], document["answers"], document["missing"]) == ("rules", 2, 1)
    assert (document["judging_usage"], document["problems"]) == ({}, [])
    assert list(document)[-2:] == ["judging_usage", "problems"]
    assert [votes[0].status for votes in report.votes["rules"]] == ["solved", "unsolved"]
    assert shares == [1.0]


def test_answers_without_signal_are_unscored() -> None:
    judges = JudgePanel(("rules",), JudgeContext(DATA)).make_judges(ANSWERS)
    report = judge_with_panel(ANSWERS, judges, PhaseProgress(lambda share: None, 1), no_signal_reason="server down")
    assert report.problems == ("server down",)
    assert {vote.status for votes in report.votes["rules"] for vote in votes} == {None}


def test_stopped_error_says_what_is_saved() -> None:
    assert "1,200 episodes saved" in str(make_stopped_error(1200, "episodes"))
    assert isinstance(make_stopped_error(0, "episodes"), StoppedError)
    assert "nothing saved yet" in str(make_stopped_error(0, "episodes"))
