"""A store that goes away, and comes back, is told while the trials wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from watching import wait_until

from sweeper.execution import storage_watch
from sweeper.execution.storage_watch import watch_storage
from sweeper.storage import Store
from sweeper.storage.availability import mark_store


def test_watch_storage_tells_both_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_watch, "POLL_SECONDS", 0.01)
    store, lines = mark_store(Store(tmp_path / "store")), list[str]()
    with watch_storage(store, lines.append):
        store.root.rename(tmp_path / "away")
        wait_until(lambda: len(lines) == 1)
        (tmp_path / "away").rename(store.root)
        wait_until(lambda: len(lines) == 2)
    assert lines[0].startswith(f"{store.root} is missing or empty")
    assert "up to 5 minutes" in lines[0]
    assert lines[1] == f"{store.root} is back: the trials go on"


def test_watch_storage_says_nothing_about_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_watch, "POLL_SECONDS", 0.001)
    lines: list[str] = []
    with watch_storage(mark_store(Store(tmp_path / "copy", "memory://bucket")), lines.append):
        pass
    assert lines == []
