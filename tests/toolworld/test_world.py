"""The world: the same in every process, splits that share nothing, subsets that mean what ToolBench means."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from sweeper.errors import UsageError
from sweeper.toolworld import SUBSETS, World, WorldConfig, build_world, make_training_documents
from sweeper.toolworld import make_test_query_documents as queries_of
from sweeper.toolworld.queries import draw_queries

SMALL = WorldConfig(train_queries=300, validation_queries=40, test_queries_per_subset=20)

DIGEST = (
    "import hashlib, json;"
    "from sweeper.toolworld import *;"
    "w = build_world(WorldConfig(train_queries=300, validation_queries=40, test_queries_per_subset=20));"
    "t = json.dumps([list(make_training_documents(w, 'train')), make_test_query_documents(w)]);"
    "print(hashlib.sha256(t.encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SMALL)


def digest(world: World) -> str:
    text = json.dumps([list(make_training_documents(world, "train")), queries_of(world)])
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_build_world_is_deterministic_across_processes(world: World, hash_seed: str) -> None:
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": source}
    found = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest(world)


def test_build_world_depends_on_the_seed(world: World) -> None:
    other = build_world(WorldConfig(seed=1, train_queries=300, validation_queries=40, test_queries_per_subset=20))
    assert digest(other) != digest(world)
    assert other.catalogue.tables != world.catalogue.tables


def test_test_queries_do_not_depend_on_the_training_size(world: World) -> None:
    other = build_world(WorldConfig(train_queries=50, validation_queries=5, test_queries_per_subset=20))
    assert queries_of(other) == queries_of(world)


def test_build_world_has_the_requested_sizes(world: World) -> None:
    assert [len(world.splits[s]) for s in ("train", "validation", "test")] == [300, 40, 120]
    assert {s: len(q) for s, q in queries_of(world).items()} == dict.fromkeys(SUBSETS, 20)
    groups = [q.subset[:2] for q in world.splits["train"]]
    assert [groups.count(g) for g in ("G1", "G2", "G3")] == [150, 75, 75]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_share_no_query_and_no_instruction(seed: int) -> None:
    world = build_world(WorldConfig(seed=seed))
    for a, b in combinations(world.splits.values(), 2):
        assert not {q.query for q in a} & {q.query for q in b}
        assert not {asked(q) for q in a} & {asked(q) for q in b}
        assert not {q.query_id for q in a} & {q.query_id for q in b}
    for queries in world.splits.values():
        assert len({q.query for q in queries}) == len(queries)


def asked(query) -> frozenset[tuple[str, str]]:  # type: ignore[no-untyped-def]
    """What a query asks, computed from the gold calls alone."""
    return frozenset((name, json.dumps(arguments, sort_keys=True)) for name, arguments, _ in query.gold_calls)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unseen_tools_and_categories_are_not_in_training(seed: int) -> None:
    world = build_world(WorldConfig(seed=seed))
    learned = [q for split in ("train", "validation") for q in world.splits[split]]
    names = {api.name for q in learned for api in q.apis}
    tools = {api.tool for q in learned for api in q.apis}
    categories = {api.category for q in learned for api in q.apis}
    text = json.dumps([d for s in ("train", "validation") for _, d in make_training_documents(world, s)])  # type: ignore[arg-type]
    tested = {(query.subset[3:], api) for query in world.splits["test"] for api in query.apis}
    assert {unseen for unseen, _ in tested} == {"instruction", "tool", "category"}
    for unseen, api in tested:
        assert (api.name in names) == (unseen == "instruction")
        assert (api.tool in tools) == (unseen == "instruction")
        assert (api.category in categories) == (unseen != "category")
    for tool in {api.tool for unseen, api in tested if unseen != "instruction"}:
        assert tool not in text and tool.replace("_", " ") not in text


def test_query_groups_match_toolbench(world: World) -> None:
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


@pytest.mark.parametrize("seed", range(5))
def test_unseen_tools_use_only_words_of_seen_tools(seed: int) -> None:
    tools = build_world(WorldConfig(seed=seed, train_queries=1, validation_queries=0)).catalogue.tools.values()
    seen = {(i, word) for t in tools if not t.unseen for i, word in enumerate(t.name.split("_"))}
    assert {(i, word) for t in tools for i, word in enumerate(t.name.split("_"))} == seen
    assert len({t.name for t in tools}) == len(tools) == 32


def test_get_query_finds_queries_of_every_split(world: World) -> None:
    for document in queries_of(world)["G3_instruction"]:
        assert world.get_query(document["query_id"]).query == document["query"]
        assert world.get_query(str(document["query_id"])).query == document["query"]
    with pytest.raises(UsageError, match="no such query"):
        world.get_query(999_999)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_querys": 5}, "train_queries"),
        ({"train_queries": 0}, "train_queries = 0"),
        ({"train_queries": "many"}, "train_queries = 'many'"),
        ({"seed": True}, "seed = True"),
        ({"g1_share": 0.9, "g2_share": 0.2}, "at most 1"),
        ({"g1_share": float("nan")}, "g1_share"),
    ],
)
def test_world_config_refuses_invalid_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorldConfig.from_mapping(settings)


@pytest.mark.slow
def test_build_world_refuses_more_queries_than_it_has(world: World) -> None:
    with pytest.raises(UsageError, match="differ"):
        draw_queries(np.random.default_rng(0), world.catalogue, "G1_tool", 5000, 1, frozenset())
