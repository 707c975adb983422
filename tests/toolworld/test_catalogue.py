"""Tools, their names and their tables."""

from __future__ import annotations

import numpy as np
import pytest

from sweeper.toolworld import WorldConfig, build_world, lexicon
from sweeper.toolworld.catalogue import Catalogue, build_catalogue


@pytest.mark.parametrize("seed", range(5))
def test_build_catalogue_names_unseen_tools_with_words_of_seen_ones(seed: int) -> None:
    tools = build_world(WorldConfig(seed=seed, train_queries=1, validation_queries=0)).catalogue.tools.values()
    seen = {(i, word) for t in tools if not t.unseen for i, word in enumerate(t.name.split("_"))}
    assert {(i, word) for t in tools for i, word in enumerate(t.name.split("_"))} == seen
    assert len({t.name for t in tools}) == len(tools) == 32


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return build_catalogue(np.random.default_rng(0))


def test_build_catalogue_gives_every_tool_five_different_apis(catalogue: Catalogue) -> None:
    for tool in catalogue.tools.values():
        assert len({api.name for api in tool.apis}) == 5
        assert [api.takes_count for api in tool.apis] == [False] * 4 + [True]
        assert any(api.field in lexicon.LINK_FIELDS for api in tool.apis), "G3 queries follow a link"
        assert {(api.tool, api.category) for api in tool.apis} == {(tool.name, tool.category)}


def test_build_catalogue_fills_a_table_per_api_with_all_entities(catalogue: Catalogue) -> None:
    for api in (api for tool in catalogue.tools.values() for api in tool.apis):
        table = catalogue.tables[api.tool, api.field]
        assert tuple(table) == lexicon.ENTITY_POOLS[api.kind]
        if api.field in lexicon.WORD_FIELDS:
            assert set(table.values()) <= set(lexicon.WORD_FIELDS[api.field])
        else:
            low, high = (2, 9) if api.takes_count else (10, 99)
            assert all(type(value) is int and low <= value <= high for value in table.values())
    assert len(catalogue.tables) == 5 * len(catalogue.tools)


def test_build_catalogue_collects_seen_tools_of_different_categories(catalogue: Catalogue) -> None:
    collected = [name for collection in catalogue.collections for name in collection]
    assert sorted(collected) == sorted(tool.name for tool in catalogue.select_tools(""))
    for collection in catalogue.collections:
        assert [catalogue.tools[name].category for name in collection] == list(lexicon.SEEN_CATEGORIES)


def test_catalogue_select_tools_splits_all_tools(catalogue: Catalogue) -> None:
    seen, tools, categories = (catalogue.select_tools(unseen) for unseen in ("", "tool", "category"))
    assert len(seen) + len(tools) + len(categories) == len(catalogue.tools)
    assert [tool.category for tool in tools] == list(lexicon.SEEN_CATEGORIES), "one of each seen category"
    assert {tool.category for tool in categories} == set(lexicon.UNSEEN_CATEGORIES)


def test_build_catalogue_depends_on_the_random_stream_only(catalogue: Catalogue) -> None:
    assert build_catalogue(np.random.default_rng(0)) == catalogue
    assert build_catalogue(np.random.default_rng(1)) != catalogue
