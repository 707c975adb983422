"""A world on disk, in ToolBench's layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.toolworld import (
    SUBSETS,
    World,
    WorldConfig,
    build_world,
    export_world,
    make_test_query_documents,
    make_training_documents,
)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(WorldConfig(train_queries=60, validation_queries=12, test_queries_per_subset=5))


def test_export_world_writes_all_documents(world: World, tmp_path: Path) -> None:
    export_world(world, tmp_path)
    written = {
        str(p.relative_to(tmp_path / "answer")): json.loads(p.read_text()) for p in tmp_path.glob("answer/*/*.json")
    }
    assert written == dict(make_training_documents(world, "train"))
    for subset in SUBSETS:
        queries = json.loads((tmp_path / "test_instruction" / f"{subset}.json").read_text())
        assert queries == make_test_query_documents(world)[subset]
        ids = json.loads((tmp_path / "test_query_ids" / f"{subset}.json").read_text())
        assert list(ids) == [str(q["query_id"]) for q in queries]
    settings = json.loads((tmp_path / "world.json").read_text())
    assert build_world(WorldConfig.from_mapping(settings)).splits == world.splits
