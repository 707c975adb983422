"""A world: its catalogue, and its training, validation and test queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from sweeper.errors import UsageError
from sweeper.toolworld.catalogue import Catalogue, build_catalogue
from sweeper.toolworld.config import GROUPS, SUBSETS, WorldConfig
from sweeper.toolworld.queries import Instruction, WorldQuery, draw_queries

FIRST_IDS = {"train": 1, "validation": 1_000_001, "test": 2_000_001}
"""First query id of each split: ids tell the split, and do not depend on the size of the others."""

CATALOGUE_STREAM, TEST_STREAM, VALIDATION_STREAM, TRAIN_STREAM = range(4)


@dataclass(frozen=True)
class World:
    """A catalogue and its queries. `splits`: train, validation, test -> queries in the order of their ids."""

    config: WorldConfig
    catalogue: Catalogue
    splits: dict[str, tuple[WorldQuery, ...]]
    queries_by_id: dict[int, WorldQuery] = field(repr=False)

    def get_query(self, query_id: int | str) -> WorldQuery:
        """Return the query with an id, of any split.

        Raises:
            UsageError: no such query.
        """
        try:
            return self.queries_by_id[int(query_id)]
        except (KeyError, ValueError) as error:
            raise UsageError(
                "toolworld", requested=f"query {query_id!r}", found="no such query in this world"
            ) from error


@lru_cache(maxsize=4)  # a warm worker evaluates many trials in one world, which nothing changes
def build_world(config: WorldConfig) -> World:
    """Build a world; equal settings give equal worlds.

    Args:
        config: seed and numbers of queries.

    Returns:
        Tools, APIs, tables, and queries with gold solutions, by split. Equal settings give an equal world.

    Raises:
        UsageError: the world has fewer different queries than the settings require.

    Example:
        >>> world = build_world(WorldConfig(seed=1, train_queries=20, test_queries_per_subset=1))
        >>> len(world.splits["train"]), len(world.splits["test"])
        (20, 6)
    """
    import numpy as np

    def make_stream(*key: int) -> np.random.Generator:
        return np.random.default_rng([config.seed, *key])

    catalogue = build_catalogue(make_stream(CATALOGUE_STREAM))
    per_subset = dict.fromkeys(SUBSETS, config.test_queries_per_subset)
    excluded: frozenset[Instruction] = frozenset()
    splits: dict[str, tuple[WorldQuery, ...]] = {}
    for split, number, sizes in (
        ("test", TEST_STREAM, per_subset),
        ("validation", VALIDATION_STREAM, _allocate_to_seen_subsets(config, config.validation_queries)),
        ("train", TRAIN_STREAM, _allocate_to_seen_subsets(config, config.train_queries)),
    ):
        queries: list[WorldQuery] = []
        for i, (subset, count) in enumerate(sizes.items()):
            first = FIRST_IDS[split] + len(queries)
            queries += draw_queries(make_stream(number, i), catalogue, subset, count, first, excluded)
        excluded |= {query.instruction for query in queries}
        splits[split] = tuple(queries)
    return World(config, catalogue, splits, {q.query_id: q for queries in splits.values() for q in queries})


def _allocate_to_seen_subsets(config: WorldConfig, total: int) -> dict[str, int]:
    sizes = config.allocate_to_groups(total)
    return {f"{group}_instruction": sizes[group] for group in GROUPS}
