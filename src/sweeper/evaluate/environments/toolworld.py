"""The generated world, whose tools really execute."""

from __future__ import annotations

from typing import Any

from sweeper import toolworld
from sweeper.evaluate.environments import Observation
from sweeper.evaluate.tasks import Task
from sweeper.spec import DataSpec


class ToolWorld:
    """Executes against the tables of a world."""

    def __init__(self, data: DataSpec) -> None:
        self.world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
        """The world's answer."""
        return Observation(toolworld.execute(self.world.catalogue, self.world.query(task.id).apis, name, arguments))
