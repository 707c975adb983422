"""Execution of calls against the tables. Arguments are checked by type and never evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from sweeper.toolworld import lexicon
from sweeper.toolworld.catalogue import Api, Catalogue


def execute_call(catalogue: Catalogue, apis: Iterable[Api], name: str, arguments: Mapping[str, object]) -> str:
    """Execute a call of a model. It never raises: mistakes are part of the observation.

    Args:
        catalogue: the tables.
        apis: the APIs offered with the query; no others exist for it.
        name: name of the API.
        arguments: the call's arguments.

    Returns:
        The observation text, `{"error": …, "response": …}`.

    Example:
        >>> world = build_world(WorldConfig(seed=1, train_queries=20, test_queries_per_subset=1))
        >>> query = world.splits["test"][0]
        >>> name, arguments, observation = query.gold_calls[0]
        >>> execute_call(world.catalogue, query.apis, name, arguments) == observation
        True
    """
    for api in apis:
        if api.name == name:
            return call_api(catalogue, api, arguments)
    return make_observation(error=f"No such function name: {name}")


def call_api(catalogue: Catalogue, api: Api, arguments: Mapping[str, object]) -> str:
    """Check the arguments, call an API, and return the observation text."""
    problem = _find_argument_problem(api, arguments)
    if problem:
        return make_observation(error=f"Function executing {api.name} error: {problem}")
    value = catalogue.tables[api.tool, api.field].get(str(arguments[lexicon.ENTITY_PARAMETER]))
    if value is None:
        return make_observation(error=f"Function executing {api.name} error: {lexicon.ENTITY_PARAMETER} not found")
    if api.takes_count:
        value = int(value) * int(str(arguments[lexicon.COUNT_PARAMETER]))
    return make_observation(response=str(value))


def make_observation(error: str = "", response: str = "") -> str:
    """Format an observation as ToolBench's server does."""
    return json.dumps({"error": error, "response": response}, ensure_ascii=False)


def _find_argument_problem(api: Api, arguments: object) -> str:
    """Describe the first mistake in the arguments; '' if there is none."""
    if not isinstance(arguments, Mapping):
        return "arguments are not an object"
    types = {p.name: p.type for p in api.parameters}
    for name in types:
        if name not in arguments:
            return f"missing required argument '{name}'"
    for name, value in arguments.items():
        if name not in types:
            return f"unexpected argument '{name}'"
        if not _is_of_type(types[name], value):
            return f"argument '{name}' is not of type {types[name]}"
    return ""


def _is_of_type(kind: str, value: object) -> bool:
    if kind == "integer":
        # Bounded, so that no product becomes unreasonably long.
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**6
    return isinstance(value, str)
