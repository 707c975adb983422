"""Judges: who decides whether an answer solved its query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeper.config import DataSpec, EvaluationSpec, JudgeName, LlmSpec
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judges.base import AnswerStatus, Judge, TaskStatus, Vote
from sweeper.evaluation.openai_client import CountProgressCallback

__all__ = ["AnswerStatus", "Judge", "TaskStatus", "Vote", "judge_answers", "make_judge", "make_llm_judge"]


def make_judge(name: JudgeName, evaluation: EvaluationSpec, data: DataSpec, cache: Path) -> Judge:
    """One of the evaluation's judges; `cache` keeps a language model's judgements."""
    if name == "oracle":
        from sweeper.evaluation.judges.oracle import OracleJudge

        return OracleJudge(data)
    if evaluation.llm is not None and name == "llm":
        return make_llm_judge(evaluation.llm, cache)
    from sweeper.evaluation.judges.rules import RulesJudge

    return RulesJudge()


def make_llm_judge(spec: LlmSpec, cache: Path | None, on_progress: CountProgressCallback | None = None) -> Judge:
    """A language model behind an endpoint. `tell(done, total)` counts its votes."""
    from sweeper.evaluation.judges.llm import LlmJudge
    from sweeper.evaluation.openai_client import EndpointClient, EndpointSettings

    settings = EndpointSettings(
        url=spec.url,
        model=spec.model,
        temperature=spec.temperature,
        concurrency=spec.concurrency,
        requests_per_minute=spec.requests_per_minute,
        timeout_seconds=spec.timeout_seconds,
        input_price=spec.input_price,
        output_price=spec.output_price,
    )
    return LlmJudge(
        EndpointClient(settings), votes=spec.votes, structured=spec.structured, cache=cache, on_progress=on_progress
    )


def judge_answers(judge: Judge, answers: Sequence[Answer]) -> list[list[Vote]]:
    """The votes on each answer. What no agent could answer (its endpoint or the environment was down) is unscored, not
    failed; so is everything where the judge answered nothing: a rate over what needs no judge would mislead."""
    reached = [answer for answer in answers if answer.ended != "unreachable"]
    votes = dict(zip((answer.key for answer in reached), judge.judge(reached), strict=True))
    if getattr(judge, "failure_reason", ""):
        votes = {key: [_withdraw_vote(vote) for vote in cast] for key, cast in votes.items()}
    unreachable = Vote(judge.name, 0, None, "the agent's endpoint or the environment could not be reached")
    return [votes.get(answer.key, [unreachable]) for answer in answers]


def _withdraw_vote(vote: Vote) -> Vote:
    if vote.status is None:
        return vote
    return replace(vote, status=None, reason="needs no judge, and the judge answered nothing else", task_fault="")
