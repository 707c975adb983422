"""What answers in an episode: a local checkpoint or an endpoint, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sweeper.evaluation.tasks import Task


@dataclass(frozen=True)
class AgentInput:
    """An episode so far, waiting for the model. `turns`: (role, content) after the query."""

    task: Task
    turns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Generation:
    """What the model wrote. `text` None: nothing, and `ended` and `reason` say why."""

    text: str | None
    tokens: int = 0
    end_reason: Literal["context", "unreachable"] = "context"
    reason: str = ""


class Agent(Protocol):
    """Continues episodes."""

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """The tasks in the groups whose episodes are to step together; the same for the same tasks."""

    def start_batch(self, index: int) -> None:
        """A group begins: what was kept for the one before may go. `chunk` seeds its sampling."""

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        """The next texts, in the order of `talks`. Never raises for a fault of an endpoint."""
