from __future__ import annotations

import os
from pathlib import Path

import pytest
from ports import reserve_refusing_port

from sweeper.errors import SweeperError, UsageError
from sweeper.execution.backends.base import SweepSubmission
from sweeper.execution.backends.ray import BACKEND, _connect, _keep_ray_private, _silence_ray


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


def test_cluster_that_is_gone_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    port = reserve_refusing_port()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # Ray would prefer it to the address that is asked for
    with pytest.raises(SweeperError, match=f"(?s)127.0.0.1:{port}.*connection failed"):
        _connect(f"127.0.0.1:{port}")
    with pytest.raises(SweeperError, match=r"(?s)auto \(.*:1\).*connection failed"):
        _connect("auto")


def test_ray_of_this_machine_keeps_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    _keep_ray_private()
    assert os.environ.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == "0"
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
