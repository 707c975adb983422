"""The judge `oracle`: the synthetic tool environment checks the calls and the final answer. No model is involved."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sweeper import toolworld
from sweeper.config import DataSpec
from sweeper.evaluation.action import Action, parse_finish_arguments
from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges.base import Judge, JudgeContext, Vote


class OracleJudge(Judge):
    """Compares an answer with the gold calls and values of its query. Casts one vote, which is never `unsure`."""

    name = "oracle"
    identity = ""
    """Empty: every suite's fingerprint includes the world and its version."""

    def __init__(self, data: DataSpec) -> None:
        self.world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """Return `solved` where every gold call was made and every gold value is in the final answer."""
        return [[self._cast_vote(answer)] for answer in answers]

    def _cast_vote(self, answer: Answer) -> Vote:
        final = parse_finish_arguments(Action("", FINISH, answer.final_answer, None)).get("final_answer")
        if not isinstance(final, str):
            return Vote(self.name, 0, "unsolved", f"no final answer ({answer.ended})", task_status="solvable")
        calls = [(call.name, _parse_arguments(call), call.response) for call in answer.calls]
        solved = toolworld.is_solved(self.world, self.world.get_query(answer.query_id), calls, final)
        reason = "" if solved else "a gold call or a gold value is missing"
        return Vote(self.name, 0, "solved" if solved else "unsolved", reason, task_status="solvable")


def make_judge(context: JudgeContext) -> OracleJudge:
    """Build the judge of the context's world."""
    return OracleJudge(context.data)


def _parse_arguments(call: ToolCall) -> dict[str, object]:
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
