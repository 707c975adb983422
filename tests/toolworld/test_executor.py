"""Calls really execute, arguments are checked, and nothing is evaluated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeper.toolworld import World, WorldConfig, WorldQuery, build_world, execute_call


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(WorldConfig(train_queries=200, validation_queries=0))


def queries(world: World, *, count: bool) -> list[WorldQuery]:
    return [q for q in world.splits["test"] if ("count" in q.gold_calls[0][1]) == count]


def test_execute_call_returns_the_gold_observations(world: World) -> None:
    for query in (q for split in world.splits.values() for q in split):
        for name, arguments, seen in query.gold_calls:
            assert execute_call(world.catalogue, query.apis, name, arguments) == seen
            document = json.loads(seen)
            assert document["error"] == "" and list(document) == ["error", "response"]
            assert document["response"]


def test_call_api_looks_up_the_table(world: World) -> None:
    query = queries(world, count=False)[0]
    api = next(a for a in query.apis if a.name == query.gold_calls[0][0])
    for entity, value in world.catalogue.tables[api.tool, api.field].items():
        assert json.loads(execute_call(world.catalogue, query.apis, api.name, {"item": entity})) == {
            "error": "",
            "response": str(value),
        }


def test_call_api_multiplies_by_the_count(world: World) -> None:
    query = queries(world, count=True)[0]
    name, arguments, _ = query.gold_calls[0]
    answers = [
        json.loads(execute_call(world.catalogue, query.apis, name, {**arguments, "count": n}))["response"]
        for n in (1, 2, 7)
    ]
    assert [int(a) for a in answers] == [int(answers[0]) * n for n in (1, 2, 7)]


def test_execute_call_knows_only_offered_apis(world: World) -> None:
    first = world.splits["test"][0]
    other = next(q for q in world.splits["test"] if not {a.name for a in q.apis} & {a.name for a in first.apis})
    name, arguments, _ = other.gold_calls[0]
    seen = json.loads(execute_call(world.catalogue, first.apis, name, arguments))
    assert seen == {"error": f"No such function name: {name}", "response": ""}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "missing required argument 'item'"),
        ({"item": 3}, "'item' is not of type string"),
        ({"item": None}, "'item' is not of type string"),
        ({"item": ["tea"]}, "'item' is not of type string"),
        ({"item": "nowhere"}, "item not found"),
        ({"item": "__import__('os').system('false')"}, "item not found"),
        ({"item": "tea", "color": "red"}, "unexpected argument 'color'"),
        (["tea"], "not an object"),
        (None, "not an object"),
    ],
)
def test_call_api_answers_wrong_arguments_with_an_error(world: World, arguments: Any, message: str) -> None:
    query = queries(world, count=False)[0]
    seen = json.loads(execute_call(world.catalogue, query.apis, query.gold_calls[0][0], arguments))
    assert message in seen["error"] and seen["response"] == ""


@pytest.mark.parametrize("count", ["3", 3.0, True, None, 10**7])
def test_call_api_refuses_a_count_that_is_no_small_integer(world: World, count: Any) -> None:
    query = queries(world, count=True)[0]
    name, arguments, _ = query.gold_calls[0]
    seen = json.loads(execute_call(world.catalogue, query.apis, name, {**arguments, "count": count}))
    assert "'count' is not of type integer" in seen["error"]
