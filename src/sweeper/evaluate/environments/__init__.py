"""Where calls are executed. One interface: a task, a function name it offers, arguments -> an observation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from sweeper.evaluate.tasks import Task
from sweeper.spec import DataSpec, EvaluationSpec

Fault = Literal["missed", "substituted", "failed"]


@dataclass(frozen=True)
class Observation:
    """What came of one call. `text` is ToolBench's: the JSON text of `{"error": …, "response": …}`; None where the
    environment could not be reached, and `reason` says why.

    `fault`: the call was not recorded and an error is observed (`missed`), or another response of that API
    (`substituted`); or the server did not execute it (`failed`). None where it was executed.
    """

    text: str | None
    fault: Fault | None = None
    reason: str = ""


class Environment(Protocol):
    """Executes calls."""

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
        """The observation of one call to an API that the task offers. Never raises for a failed call."""


def environment_of(evaluation: EvaluationSpec, data: DataSpec) -> Environment:
    """The environment that an evaluation names. Raises DataError or UsageError where it cannot be had."""
    if evaluation.environment == "replay":
        from sweeper.evaluate.environments.replay import Replay

        return Replay.read(Path(str(evaluation.recorded)).expanduser(), evaluation.on_miss)
    if evaluation.environment == "http":
        from sweeper.evaluate.environments.http import Server

        return Server(str(evaluation.url))
    from sweeper.evaluate.environments.toolworld import ToolWorld

    return ToolWorld(data)
