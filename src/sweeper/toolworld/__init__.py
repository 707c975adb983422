"""The synthetic tool environment: executable tools, queries with gold solutions, and an oracle, in ToolBench's formats.

Example:
    >>> world = build_world(WorldConfig(seed=1, train_queries=100))
    >>> query = world.splits["test"][0]
    >>> name, arguments, observation = query.gold_calls[0]
    >>> execute_call(world.catalogue, query.apis, name, arguments) == observation
    True
"""

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
