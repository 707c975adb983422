"""The generated world's own judge: decides from what was executed and what was answered, by no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sweeper import toolworld
from sweeper.config import DataSpec
from sweeper.evaluation.action import Action, parse_finish_arguments
from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges.base import Vote


class OracleJudge:
    """Knows the world that its answers come from. One vote: it is never unsure."""

    name = "oracle"

    def __init__(self, data: DataSpec) -> None:
        self.world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))
        self.identity = f"oracle of world version {toolworld.WORLD_VERSION}"

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """Solved where every gold call was made and every gold value is in the final answer."""
        return [[self._cast_vote(answer)] for answer in answers]

    def _cast_vote(self, answer: Answer) -> Vote:
        final = parse_finish_arguments(Action("", FINISH, answer.final_answer, None)).get("final_answer")
        if not isinstance(final, str):
            return Vote(self.name, 0, "unsolved", f"no final answer ({answer.ended})", task_status="solvable")
        calls = [(call.name, _parse_arguments(call), call.response) for call in answer.calls]
        good = toolworld.is_solved(self.world, self.world.get_query(answer.query_id), calls, final)
        reason = "" if good else "a gold call or a gold value is missing"
        return Vote(self.name, 0, "solved" if good else "unsolved", reason, task_status="solvable")


def _parse_arguments(call: ToolCall) -> dict[str, Any]:
    try:
        found = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
