"""The environment `toolworld`: the synthetic tool environment, whose tools are executed."""

from __future__ import annotations

from collections.abc import Mapping

from sweeper import toolworld
from sweeper.config import DataSpec, EvaluationSpec
from sweeper.evaluation.environments.base import Environment, Observation
from sweeper.evaluation.tasks import Task


class ToolWorldEnvironment(Environment):
    """Executes calls against the tables of a generated world."""

    def __init__(self, data: DataSpec) -> None:
        self.world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))

    def execute(self, task: Task, name: str, arguments: Mapping[str, object]) -> Observation:
        """Return the world's response."""
        return Observation(
            toolworld.execute_call(self.world.catalogue, self.world.get_query(task.id).apis, name, arguments)
        )


def make_environment(evaluation: EvaluationSpec, data: DataSpec) -> ToolWorldEnvironment:
    """Build the world of `data`."""
    return ToolWorldEnvironment(data)
