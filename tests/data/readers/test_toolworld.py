"""Conversations of the generated world."""

from __future__ import annotations

import pytest
from tiny_data import SETTINGS, WORLD

from sweeper.data.conversations import ReaderCounts
from sweeper.data.sources import open_source
from sweeper.errors import UsageError


def test_world_has_its_own_splits_with_distinct_queries() -> None:
    counts = ReaderCounts()
    source = open_source(WORLD)
    queries: dict[str | None, set[str]] = {"train": set(), "validation": set()}
    for split, conversation in source.read_conversations(counts):
        queries[split].add(conversation.query)
    assert source.has_own_splits()
    assert [len(queries[split]) for split in ("train", "validation")] == [20, 6]
    assert not queries["train"] & queries["validation"]
    assert counts.drop_counts == {}


def test_world_identity_depends_on_its_settings_alone() -> None:
    larger = WORLD.model_copy(update={"toolworld": SETTINGS | {"train_queries": 21}})
    assert open_source(WORLD).compute_sha256() == open_source(WORLD).compute_sha256()
    assert open_source(larger).compute_sha256() != open_source(WORLD).compute_sha256()


def test_world_knows_the_category_of_every_tool() -> None:
    categories = open_source(WORLD).load_categories()
    assert categories
    assert all(name == name.lower() for name in categories)


def test_world_refuses_unknown_settings() -> None:
    with pytest.raises(UsageError):
        open_source(WORLD.model_copy(update={"toolworld": {"train_querys": 3}}))
