"""Was a query solved? Decided from what was executed and what was answered, by no model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweeper.toolworld.executor import execute_call

if TYPE_CHECKING:
    from sweeper.toolworld.queries import WorldQuery
    from sweeper.toolworld.world import World


def is_solved(
    world: World, query: WorldQuery, calls: Sequence[tuple[str, Mapping[str, Any], str]], final_answer: str
) -> bool:
    """Every gold call was executed with the right arguments, and the answer has each gold value as a whole token.

    `calls`: (API name, arguments, observation text), in any order, with any others between them. An observation counts
    only if it is what the world answers to that call, so an answer without calls, or with made-up observations, fails.
    """
    for name, arguments, wanted in query.gold_calls:
        if not any(
            n == name and a == arguments and seen == wanted == execute_call(world.catalogue, query.apis, n, a)
            for n, a, seen in calls
        ):
            return False
    tokens = set(re.findall(r"\w+", final_answer.casefold()))
    return all(value.casefold() in tokens for value in query.gold_values)
