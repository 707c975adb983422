"""Judges: who decides whether an answer solved its query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeper.evaluate.answers import Answer
from sweeper.evaluate.endpoint import Tell
from sweeper.evaluate.judges.vote import Judge, Status, TaskStatus, Vote
from sweeper.spec import DataSpec, EvaluationSpec, JudgeName, LlmSpec

__all__ = ["Judge", "Status", "TaskStatus", "Vote", "judge_answers", "judge_of", "llm_judge"]


def judge_of(name: JudgeName, evaluation: EvaluationSpec, data: DataSpec, cache: Path) -> Judge:
    """One of the evaluation's judges; `cache` keeps a language model's judgements."""
    if name == "oracle":
        from sweeper.evaluate.judges.oracle import OracleJudge

        return OracleJudge(data)
    if evaluation.llm is not None and name == "llm":
        return llm_judge(evaluation.llm, cache)
    from sweeper.evaluate.judges.rules import RulesJudge

    return RulesJudge()


def llm_judge(spec: LlmSpec, cache: Path | None, tell: Tell | None = None) -> Judge:
    """A language model behind an endpoint. `tell(done, total)` counts its votes."""
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
    return LlmJudge(Endpoint(settings), votes=spec.votes, structured=spec.structured, cache=cache, tell=tell)


def judge_answers(judge: Judge, answers: Sequence[Answer]) -> list[list[Vote]]:
    """The votes on each answer. What no agent could answer (its endpoint or the environment was down) is unscored, not
    failed; so is everything where the judge answered nothing: a rate over what needs no judge would mislead."""
    reached = [answer for answer in answers if answer.ended != "unreachable"]
    votes = dict(zip((answer.key for answer in reached), judge.judge(reached), strict=True))
    if getattr(judge, "silence", ""):
        votes = {key: [_withdrawn(vote) for vote in cast] for key, cast in votes.items()}
    unreachable = Vote(judge.name, 0, None, "the agent's endpoint or the environment could not be reached")
    return [votes.get(answer.key, [unreachable]) for answer in answers]


def _withdrawn(vote: Vote) -> Vote:
    if vote.status is None:
        return vote
    return replace(vote, status=None, reason="needs no judge, and the judge answered nothing else", task_fault="")
