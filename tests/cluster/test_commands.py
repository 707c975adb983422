"""The commands around the functions: their own words only."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.errors import UsageError


def test_local_without_a_cluster_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWEEPER_CLUSTER", str(tmp_path / "none"))
    for words in (
        ["run", "quickstart", "--address", "local", "--storage", str(tmp_path)],
        ["cluster", "submit", "quickstart", "--address", "local", "--storage", str(tmp_path)],
    ):
        found = CliRunner().invoke(app, words).exception
        assert isinstance(found, UsageError) and "up-local" in str(found)
    found = CliRunner().invoke(app, ["cluster", "down-local"]).exception
    assert isinstance(found, UsageError) and found.exit_code == 2
