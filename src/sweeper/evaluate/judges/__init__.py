"""Judges: who decides whether an answer solved its query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeper.evaluate.answers import Answer
from sweeper.evaluate.judges.vote import Judge, Status, TaskStatus, Vote
from sweeper.spec import DataSpec, EvaluationSpec, LlmSpec

__all__ = ["Judge", "Status", "TaskStatus", "Vote", "judge_answers", "judge_of", "llm_judge"]


def judge_of(evaluation: EvaluationSpec, data: DataSpec, cache: Path) -> Judge:
    """The judge that an evaluation names; `cache` keeps a language model's judgements."""
    if evaluation.judge == "oracle":
        from sweeper.evaluate.judges.oracle import OracleJudge

        return OracleJudge(data)
    if evaluation.llm is not None and evaluation.judge == "llm":
        return llm_judge(evaluation.llm, cache)
    from sweeper.evaluate.judges.rules import RulesJudge

    return RulesJudge()


def llm_judge(spec: LlmSpec, cache: Path | None) -> Judge:
    """A language model behind an endpoint."""
    from sweeper.evaluate.endpoint import Endpoint, EndpointSettings
    from sweeper.evaluate.judges.llm import LlmJudge

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
    return LlmJudge(Endpoint(settings), votes=spec.votes, structured=spec.structured, cache=cache)


def judge_answers(judge: Judge, answers: Sequence[Answer]) -> list[list[Vote]]:
    """The votes on each answer. What no agent could answer (its endpoint was down) is unscored, not failed."""
    reached = [answer for answer in answers if answer.ended != "unreachable"]
    votes = dict(zip((answer.key for answer in reached), judge.judge(reached), strict=True))
    unreachable = Vote(judge.name, 0, None, "the agent's endpoint could not be reached")
    return [votes.get(answer.key, [unreachable]) for answer in answers]
