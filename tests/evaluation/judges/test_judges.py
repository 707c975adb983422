"""Judges are selected by name, and none stands in for another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from answer_documents import answer
from pydantic import ValidationError
from scripted_agents import DATA, make_evaluation

from sweeper.config import LlmSpec
from sweeper.errors import UsageError
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judges import JUDGES, Judge, JudgeContext, Vote, judge_answers, make_judge


class SolvedJudge(Judge):
    name = identity = "solved"
    failure_reason = ""

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        return [[Vote(self.name, 0, "solved", "")] for _ in answers]


def test_judges_are_the_files_of_the_folder() -> None:
    assert {"human", "llm", "oracle", "rules"} <= set(JUDGES.names)
    assert not {"base", "_answer_text", "prompts"} & set(JUDGES.names)


@pytest.mark.parametrize("name", ["rules", "oracle"])
def test_make_judge_builds_the_named_judge(name: str) -> None:
    judge = make_judge(name, JudgeContext(DATA))
    assert (judge.name, judge.usage, judge.failure_reason, judge.cached_count) == (name, None, "", 0)


def test_make_judge_builds_the_llm_judge_of_the_context() -> None:
    judge = make_judge("llm", JudgeContext(DATA, llm=LlmSpec(url="http://127.0.0.1:1/v1", model="m")))
    assert judge.name == "llm:m"
    assert judge.usage is not None


def test_unknown_judge_is_an_error() -> None:
    with pytest.raises(UsageError, match="pairwise"):
        make_judge("pairwise", JudgeContext(DATA))
    with pytest.raises(ValidationError, match="no judge of this name"):
        make_evaluation(judge="pairwise")


@pytest.mark.parametrize(("name", "missing"), [("llm", "no endpoint"), ("human", "no labels")])
def test_judge_without_its_settings_is_an_error(name: str, missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        make_judge(name, JudgeContext(DATA))


def test_configuration_rejects_the_human_judge() -> None:
    with pytest.raises(ValidationError, match="--labels"):
        make_evaluation(judge="human")


def test_judge_answers_leaves_unreachable_answers_unscored() -> None:
    answers = [answer(query_id="1"), answer(query_id="2", ended="unreachable")]
    assert [votes[0].status for votes in judge_answers(SolvedJudge(), answers)] == ["solved", None]


def test_judge_answers_withdraws_all_votes_of_a_failed_judge() -> None:
    judge = SolvedJudge()
    judge.failure_reason = "connection refused"
    ((vote,),) = judge_answers(judge, [answer()])
    assert (vote.status, vote.reason) == (None, "decided without the judge, which replied to no request")


def test_context_reads_the_label_key(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("item,label\nabc,solved\n")
    (tmp_path / "key.json").write_text('{"items": {"abc": {"subset": "G1_tool", "query_id": "7"}}}')
    context = JudgeContext(DATA, labels=tmp_path / "labels.csv", label_key=tmp_path / "key.json", answers=[answer()])
    assert judge_answers(make_judge("human", context), [answer()])[0][0].status == "solved"
