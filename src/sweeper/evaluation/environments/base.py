"""The interface of an environment: a task, the name of an offered function and arguments -> an observation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.evaluation.tasks import Task

Fault = Literal["missed", "substituted", "failed"]


@dataclass(frozen=True)
class Observation:
    """The result of one call."""

    text: str | None
    """ToolBench's JSON text of `{"error": …, "response": …}`; None where the environment was unreachable."""
    fault: Fault | None = None
    """None where the call was executed. `missed`: it was not recorded, and an error is observed; `substituted`: another
    response of the same API is observed; `failed`: the server did not execute it."""
    reason: str = ""
    """Why there is a fault."""


class Environment(Protocol):
    """Executes calls."""

    max_concurrent_calls: int = 1
    """Calls executed at once; more than 1 where a server executes them."""

    def execute(self, task: Task, name: str, arguments: Mapping[str, object]) -> Observation:
        """Execute one call to an API that the task offers. A failed call does not raise."""


EnvironmentFactory = Callable[[EvaluationSpec, DataSpec], Environment]
"""`make_environment` of a file of this folder."""
