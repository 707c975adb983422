"""`sweeper cluster`, and `sweeper run --address`: what happens without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli.app import app
from sweeper.errors import SweeperError, UsageError


def test_local_address_without_cluster_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWEEPER_CLUSTER", str(tmp_path / "none"))
    for words in (
        ["run", "quickstart", "--address", "local", "--storage", str(tmp_path)],
        ["cluster", "submit", "quickstart", "--address", "local", "--storage", str(tmp_path)],
    ):
        found = CliRunner().invoke(app, words).exception
        assert isinstance(found, UsageError) and "up-local" in str(found)
    found = CliRunner().invoke(app, ["cluster", "down-local"]).exception
    assert isinstance(found, UsageError) and found.exit_code == 2


def test_run_submits_the_sweep_to_a_dashboard_url(tmp_path: Path) -> None:
    words = ["run", "quickstart", "--address", "http://127.0.0.1:1", "--storage", str(tmp_path)]
    found = CliRunner().invoke(app, words).exception
    assert isinstance(found, SweeperError) and "connection failed" in str(found)
    assert list(tmp_path.iterdir()) == [], "nothing is started here"
