"""A world: the same in every process, with splits that share nothing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from sweeper.errors import UsageError
from sweeper.toolworld import (
    SUBSETS,
    World,
    WorldConfig,
    build_world,
    make_test_query_documents,
    make_training_documents,
)

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
    text = json.dumps([list(make_training_documents(world, "train")), make_test_query_documents(world)])
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


def test_build_world_test_queries_do_not_depend_on_the_training_size(world: World) -> None:
    other = build_world(WorldConfig(train_queries=50, validation_queries=5, test_queries_per_subset=20))
    assert make_test_query_documents(other) == make_test_query_documents(world)


def test_build_world_has_the_requested_sizes(world: World) -> None:
    assert [len(world.splits[s]) for s in ("train", "validation", "test")] == [300, 40, 120]
    assert {s: len(q) for s, q in make_test_query_documents(world).items()} == dict.fromkeys(SUBSETS, 20)
    groups = [q.subset[:2] for q in world.splits["train"]]
    assert [groups.count(g) for g in ("G1", "G2", "G3")] == [150, 75, 75]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_build_world_splits_share_no_query_and_no_instruction(seed: int) -> None:
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
def test_build_world_unseen_tools_and_categories_are_not_in_training(seed: int) -> None:
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


def test_get_query_finds_make_test_query_documents_every_split(world: World) -> None:
    for document in make_test_query_documents(world)["G3_instruction"]:
        assert world.get_query(document["query_id"]).query == document["query"]
        assert world.get_query(str(document["query_id"])).query == document["query"]
    with pytest.raises(UsageError, match="no such query"):
        world.get_query(999_999)
