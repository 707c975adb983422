"""The oracle: whether a query was solved, decided from the executed calls and the answer, without a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweeper.toolworld.executor import execute_call

if TYPE_CHECKING:
    from sweeper.toolworld.queries import WorldQuery
    from sweeper.toolworld.world import World


def is_solved(
    world: World, query: WorldQuery, calls: Sequence[tuple[str, Mapping[str, object], str]], final_answer: str
) -> bool:
    """Tell whether every gold call was executed, and the answer has each gold value as a whole token.

    An observation counts only if it is the one that the world gives for that call, so answers without calls or with
    made-up observations fail.

    Args:
        world: the world of the query.
        query: one of its queries.
        calls: (API name, arguments, observation text) of each call, in any order; others may be among them.
        final_answer: the text of the answer.

    Returns:
        Whether the answer solves the query.

    Example:
        >>> world = build_world(WorldConfig(seed=1, train_queries=20, test_queries_per_subset=1))
        >>> query = world.splits["test"][0]
        >>> is_solved(world, query, query.gold_calls, "I do not know")
        False
    """
    for name, arguments, expected in query.gold_calls:
        if not any(
            n == name and a == arguments and observation == expected == execute_call(world.catalogue, query.apis, n, a)
            for n, a, observation in calls
        ):
            return False
    tokens = set(re.findall(r"\w+", final_answer.casefold()))
    return all(value.casefold() in tokens for value in query.gold_values)
