"""The interface of an agent, which continues episodes: a local checkpoint or an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sweeper.evaluation.tasks import Task


@dataclass(frozen=True)
class AgentInput:
    """An episode so far."""

    task: Task
    turns: tuple[tuple[str, str], ...]
    """(role, content) after the query."""


@dataclass(frozen=True)
class Generation:
    """The model's next text of an episode."""

    text: str | None
    """None where there is none; `end_reason` and `reason` then state why."""
    tokens: int = 0
    end_reason: Literal["context", "unreachable"] = "context"
    reason: str = ""


class Agent(Protocol):
    """Continues episodes."""

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Group the tasks into batches whose episodes step together. Deterministic."""

    def start_batch(self, index: int) -> None:
        """Begin a batch: discard the state of the previous one, and seed the sampling by `index`."""

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        """Generate the next texts, in the order of `inputs`. A failing endpoint does not raise."""
