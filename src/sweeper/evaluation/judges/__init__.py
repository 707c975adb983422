"""Judges decide whether an answer solved its query. Each is one file that defines `make_judge`.

To add the judge `strict`, write `judges/strict.py` with `make_judge(context: JudgeContext) -> Judge`, and describe it
in the documentation. Nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judges.base import AnswerStatus, Judge, JudgeContext, JudgeFactory, TaskStatus, Vote
from sweeper.registry import Registry

__all__ = ["JUDGES", "AnswerStatus", "Judge", "JudgeContext", "TaskStatus", "Vote", "judge_answers", "make_judge"]

JUDGES: Registry[JudgeFactory] = Registry("judge", "evaluation/judges", "make_judge")


def make_judge(name: str, context: JudgeContext) -> Judge:
    """Build the judge `name`.

    Raises:
        UsageError: an unknown name, or a context without what the judge needs.
        DataError: labels that cannot be read or do not match the answers.

    Example:
        >>> from sweeper.config import load_data_spec
        >>> make_judge("rules", JudgeContext(load_data_spec("toolworld"))).name
        'rules'
    """
    return JUDGES.load(name)(context)


def judge_answers(judge: Judge, answers: Sequence[Answer]) -> list[list[Vote]]:
    """Judge every answer that its agent was able to give.

    An answer that was cut off by an unreachable endpoint or environment is unscored rather than failed. If the judge's
    own endpoint never replied, every answer is unscored: a rate over the few answers that need no reply would mislead.

    Returns:
        The votes on each answer, in the order of `answers`.
    """
    reached = [answer for answer in answers if answer.ended != "unreachable"]
    votes = dict(zip((answer.key for answer in reached), judge.judge(reached), strict=True))
    if judge.failure_reason:
        votes = {key: [_withdraw_vote(vote) for vote in cast] for key, cast in votes.items()}
    unreachable = Vote(judge.name, 0, None, "the agent's endpoint or the environment could not be reached")
    return [votes.get(answer.key, [unreachable]) for answer in answers]


def _withdraw_vote(vote: Vote) -> Vote:
    if vote.status is None:
        return vote
    return replace(vote, status=None, reason="decided without the judge, which replied to no request", task_fault="")
