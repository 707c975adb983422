"""The generated world's own judge: decides from what was executed and what was answered, by no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sweeper import toolworld
from sweeper.evaluate.action import Action, finish_arguments
from sweeper.evaluate.answers import FINISH, Answer, ToolCall
from sweeper.evaluate.judges.vote import Vote
from sweeper.spec import DataSpec


class OracleJudge:
    """Knows the world that its answers come from. One vote: it is never unsure."""

    name = "oracle"

    def __init__(self, data: DataSpec) -> None:
        self.world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))
        self.identity = f"oracle of world version {toolworld.WORLD_VERSION}"

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """Solved where every gold call was made and every gold value is in the final answer."""
        return [[self._vote(answer)] for answer in answers]

    def _vote(self, answer: Answer) -> Vote:
        final = finish_arguments(Action("", FINISH, answer.final_answer, None)).get("final_answer")
        if not isinstance(final, str):
            return Vote(self.name, 0, "unsolved", f"no final answer ({answer.ended})", task="solvable")
        calls = [(call.name, _arguments(call), call.response) for call in answer.calls]
        good = toolworld.solved(self.world, self.world.query(answer.query_id), calls, final)
        reason = "" if good else "a gold call or a gold value is missing"
        return Vote(self.name, 0, "solved" if good else "unsolved", reason, task="solvable")


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        found = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
