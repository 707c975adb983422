"""The generated world, whose tools really execute."""

from __future__ import annotations

from typing import Any

from sweeper import toolworld
from sweeper.config import DataSpec
from sweeper.evaluation.environments import Observation
from sweeper.evaluation.tasks import Task


class ToolWorldEnvironment:
    """Executes against the tables of a world."""

    def __init__(self, data: DataSpec) -> None:
        self.world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
        """The world's answer."""
        return Observation(
            toolworld.execute_call(self.world.catalogue, self.world.get_query(task.id).apis, name, arguments)
        )
