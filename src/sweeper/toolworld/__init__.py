"""The embedded world: tools that really execute, queries with gold solutions, an oracle, in ToolBench's formats."""

from sweeper.toolworld.config import SUBSETS, WORLD_VERSION, WorldConfig
from sweeper.toolworld.executor import execute_call
from sweeper.toolworld.export import export_world
from sweeper.toolworld.queries import WorldQuery
from sweeper.toolworld.scoring import is_solved
from sweeper.toolworld.toolbench_format import make_test_query_documents, make_training_documents
from sweeper.toolworld.world import World, build_world

__all__ = [
    "SUBSETS",
    "WORLD_VERSION",
    "World",
    "WorldConfig",
    "WorldQuery",
    "build_world",
    "execute_call",
    "export_world",
    "is_solved",
    "make_test_query_documents",
    "make_training_documents",
]
