"""A source is opened by the reader that its data match best."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_data import make_toolbench_spec, read_conversations

from sweeper.data.sources import open_source
from sweeper.errors import DataError


def test_open_source_refuses_a_missing_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such"):
        read_conversations(tmp_path / "missing")
    with pytest.raises(DataError, match="json"):
        read_conversations(tmp_path)


def test_open_source_names_what_is_missing_or_unreadable(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "no such"), (tmp_path, r"no \*.json")):
        with pytest.raises(DataError, match=message):
            read_conversations(path)
    with pytest.raises(DataError, match="no path"):
        open_source(make_toolbench_spec("x").model_copy(update={"path": None}))
    with pytest.raises(DataError, match="Hugging Face"):
        read_conversations("nobody/nothing-here")
