"""Run a call against the tables. Arguments are checked by type; nothing in them is ever evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sweeper.toolworld import lexicon
from sweeper.toolworld.catalogue import Api, Catalogue


def execute_call(catalogue: Catalogue, apis: Iterable[Api], name: str, arguments: Mapping[str, Any]) -> str:
    """Observation text `{"error": …, "response": …}`. Only the APIs offered to a query exist for it. Never raises."""
    for api in apis:
        if api.name == name:
            return call_api(catalogue, api, arguments)
    return make_observation(error=f"No such function name: {name}")


def call_api(catalogue: Catalogue, api: Api, arguments: Mapping[str, Any]) -> str:
    """One API on checked arguments -> observation text."""
    problem = _find_argument_problem(api, arguments)
    if problem:
        return make_observation(error=f"Function executing {api.name} error: {problem}")
    value = catalogue.tables[api.tool, api.field].get(arguments[lexicon.ENTITY_PARAMETER])
    if value is None:
        return make_observation(error=f"Function executing {api.name} error: {lexicon.ENTITY_PARAMETER} not found")
    if api.takes_count:
        value = int(value) * int(arguments[lexicon.COUNT_PARAMETER])
    return make_observation(response=str(value))


def make_observation(error: str = "", response: str = "") -> str:
    """ToolBench's server answer as JSON text."""
    return json.dumps({"error": error, "response": response}, ensure_ascii=False)


def _find_argument_problem(api: Api, arguments: object) -> str:
    """Why the arguments do not fit, '' where they do."""
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
        # Bounded, so that no model output makes a number of unreasonable length.
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**6
    return isinstance(value, str)
