"""The commands around the functions: their own words only."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli.app import app
from sweeper.errors import SweeperError, UsageError


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


def test_run_sends_a_sweep_to_the_url_of_a_dashboard(tmp_path: Path) -> None:
    words = ["run", "quickstart", "--address", "http://127.0.0.1:1", "--storage", str(tmp_path)]
    found = CliRunner().invoke(app, words).exception
    assert isinstance(found, SweeperError) and "nobody answers" in str(found)
    assert list(tmp_path.iterdir()) == [], "nothing is started here"
