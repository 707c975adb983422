"""Where calls are executed. One interface: a task, a function name it offers, arguments -> an observation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.evaluation.tasks import Task

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


def make_environment(evaluation: EvaluationSpec, data: DataSpec) -> Environment:
    """The environment that an evaluation names. Raises DataError or UsageError where it cannot be had."""
    if evaluation.environment == "replay":
        from sweeper.evaluation.environments.replay import ReplayEnvironment

        return ReplayEnvironment.read_folder(Path(str(evaluation.recorded)).expanduser(), evaluation.on_miss)
    if evaluation.environment == "http":
        from sweeper.evaluation.environments.stabletoolbench import StableToolBenchServer

        return StableToolBenchServer(str(evaluation.url))
    from sweeper.evaluation.environments.toolworld import ToolWorldEnvironment

    return ToolWorldEnvironment(data)
