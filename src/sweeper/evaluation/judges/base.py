"""What a judge says of an answer, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sweeper.evaluation.answers import Answer

AnswerStatus = Literal["solved", "unsolved", "unsure"]
TaskStatus = Literal["solvable", "unsolvable", "unsure"]


@dataclass(frozen=True)
class Vote:
    """One judgement of one answer. `status` None: it could not be judged, and `reason` says why (unscored).

    `task`: whether the query can be solved at all, None where the judge does not say; `task_fault`: why not, where it
    was asked and brought nothing. `rules`: rule -> whether it holds, None where that cannot be decided from what the
    answer holds; empty for judges without rules.
    """

    judge: str
    index: int
    status: AnswerStatus | None
    reason: str
    task_status: TaskStatus | None = None
    rules: Mapping[str, bool | None] = field(default_factory=dict)
    task_fault: str = ""


class Judge(Protocol):
    """Anything that judges answers. `name` stands in tables; `identity` is hashed into results: all that matters."""

    name: str
    identity: str

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """The votes on each answer, in the order of `answers`. Never raises for a fault of its endpoint."""
