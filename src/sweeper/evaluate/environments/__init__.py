"""Where calls are executed. One interface: a task, a function name it offers, arguments -> an observation text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from sweeper.evaluate.tasks import Task
from sweeper.spec import DataSpec, EvaluationSpec


class Environment(Protocol):
    """Executes calls. Observations are ToolBench's: the JSON text of `{"error": …, "response": …}`."""

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> str:
        """The observation of one call to an API that the task offers. Never raises for a failed call."""

    def counts(self) -> dict[str, int]:
        """What it did so far: calls, and what else it counts (misses, failures)."""


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
