"""The embedded world: tools that really execute, queries with gold solutions, an oracle, in ToolBench's formats."""

from sweeper.toolworld.config import SUBSETS, WORLD_VERSION, WorldConfig
from sweeper.toolworld.execute import execute
from sweeper.toolworld.export import export
from sweeper.toolworld.formats import test_queries, training_answers
from sweeper.toolworld.oracle import solved
from sweeper.toolworld.queries import WorldQuery
from sweeper.toolworld.world import World, build_world

__all__ = [
    "SUBSETS",
    "WORLD_VERSION",
    "World",
    "WorldConfig",
    "WorldQuery",
    "build_world",
    "execute",
    "export",
    "solved",
    "test_queries",
    "training_answers",
]
