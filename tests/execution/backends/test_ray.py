from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeper.errors import SweeperError, UsageError
from sweeper.execution.backends.base import SweepSubmission
from sweeper.execution.backends.ray import BACKEND, _silence_ray


def test_only_addresses_that_take_jobs_are_sent_to() -> None:
    submission = SweepSubmission("quickstart", "/shared/store")
    assert BACKEND.submit(submission, "10.0.0.1:6379") is None
    assert BACKEND.submit(submission, "auto") is None
    with pytest.raises(SweeperError, match="connection failed"):
        BACKEND.submit(submission, "http://127.0.0.1:1")


def test_local_address_needs_a_local_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_CLUSTER", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="up-local"):
        BACKEND.resolve_address("local")


def test_what_a_user_sets_for_ray_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)
    _silence_ray()
    assert os.environ["MALLOC_ARENA_MAX"] == "8"
    assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
