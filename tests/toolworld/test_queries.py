"""Queries of each group, and what they require."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from sweeper.errors import UsageError
from sweeper.toolworld import World, WorldConfig, build_world
from sweeper.toolworld.queries import draw_queries

SMALL = WorldConfig(train_queries=300, validation_queries=40, test_queries_per_subset=20)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SMALL)


def test_draw_queries_gives_groups_that_match_toolbench(world: World) -> None:
    together = [set(collection) for collection in world.catalogue.collections]
    for query in (q for split in world.splits.values() for q in split):
        offered = {api.name: api for api in query.apis}
        called = [offered[name] for name, _, _ in query.gold_calls]
        tools, categories = {a.tool for a in called}, {a.category for a in called}
        if query.subset.startswith("G1"):
            assert len(called) == 1 and len({a.tool for a in query.apis}) == 1
        elif query.subset.startswith("G2"):
            assert len(called) == 2 and len(tools) == 2 and len(categories) == 1
        else:
            assert len(called) == 2 and len(categories) == 2 and any(tools <= c for c in together)
            assert json.loads(query.gold_calls[0][2])["response"] == query.gold_calls[1][1]["item"]


@pytest.mark.slow
def test_draw_queries_refuses_more_queries_than_exist(world: World) -> None:
    with pytest.raises(UsageError, match="differ"):
        draw_queries(np.random.default_rng(0), world.catalogue, "G1_tool", 5000, 1, frozenset())


def test_draw_queries_numbers_queries_and_avoids_excluded_instructions(world: World) -> None:
    stream = np.random.default_rng(0)
    drawn = draw_queries(stream, world.catalogue, "G1_instruction", 50, 7, frozenset())
    assert [query.query_id for query in drawn] == list(range(7, 57))
    assert len({query.query for query in drawn}) == 50
    excluded = frozenset(query.instruction for query in drawn)
    others = draw_queries(np.random.default_rng(0), world.catalogue, "G1_instruction", 50, 7, excluded)
    assert not {query.instruction for query in others} & excluded


def test_draw_queries_refuses_an_unknown_group(world: World) -> None:
    with pytest.raises(UsageError, match="one of: G1, G2, G3"):
        draw_queries(np.random.default_rng(0), world.catalogue, "G4_tool", 1, 1, frozenset())


def test_draw_queries_offers_the_needed_apis_among_others_of_their_tools(world: World) -> None:
    for query in (q for split in world.splits.values() for q in split):
        assert len(query.apis) == len(set(query.apis)) == 3
        assert set(query.gold_apis) <= set(query.apis)
        assert {api.tool for api in query.apis} == {api.tool for api in query.gold_apis}
        assert [schema["name"] for schema in query.functions] == [*(api.name for api in query.apis), "Finish"]


def test_world_query_names_its_arguments_and_answers_with_gold_values(world: World) -> None:
    for query in world.splits["test"]:
        assert query.gold_answer == " and ".join(query.gold_values)
        for name, arguments, _ in query.gold_calls:
            assert name.partition("_for_")[2] in query.query
            linked = query.subset.startswith("G3") and (name, arguments) == query.gold_calls[1][:2]
            assert linked or f'"{arguments["item"]}"' in query.query


def test_world_query_instruction_ignores_wording_and_order(world: World) -> None:
    query = next(q for q in world.splits["test"] if q.subset == "G2_instruction")
    reversed_plan = dataclasses.replace(query, query="other words", gold_plan=query.gold_plan[::-1])
    assert reversed_plan.instruction == query.instruction
