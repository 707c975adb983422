"""Addresses of clusters: what a client needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper import cluster
from sweeper.cluster import LocalCluster
from sweeper.storage import write_json


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://h:8265", True),
        ("https://h", True),
        ("ray://h", True),
        ("auto", False),
        ("h:6379", False),
        ("local", False),
    ],
)
def test_accepts_jobs_depends_on_the_scheme(address: str, expected: bool) -> None:
    assert cluster.accepts_jobs(address) is expected


class TestClientEnvironment:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        return tmp_path

    def test_environment_is_empty_without_token(self, home: Path) -> None:
        assert cluster.make_client_environment("http://head:8265", home) == {}

    def test_token_file_enables_authentication(self, home: Path) -> None:
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text("secret")
        assert cluster.make_client_environment("http://head:8265", home) == {"RAY_AUTH_MODE": "token"}

    def test_existing_variables_are_kept(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
        assert cluster.make_client_environment("http://head:8265", home) == {"RAY_AUTH_MODE": "token"}
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        assert cluster.make_client_environment("http://head:8265", home) == {}

    def test_local_cluster_provides_its_own_token(self, home: Path) -> None:
        own = LocalCluster(
            "feed", "127.0.0.1:1", "http://127.0.0.1:2", "ray://127.0.0.1:4", str(home / "token"), str(home), ()
        )
        write_json(home / "cluster.json", own.to_document())
        for address in ("local", "127.0.0.1:1", "http://127.0.0.1:2", "ray://127.0.0.1:4"):
            assert cluster.make_client_environment(address, home) == own.environment
        assert cluster.make_client_environment("http://127.0.0.1:3", home) == {}
        assert cluster.resolve_address("local", home) == "127.0.0.1:1"
        assert cluster.resolve_address("ray://head:10001", home) == "ray://head:10001"


def test_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "ray" / "auth_token"
    cluster.make_token_private(path)
    token = path.read_text()
    assert len(token) == 64
    path.chmod(0o644)  # as Ray makes it
    cluster.make_token_private(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == token


def test_token_that_cannot_be_made_is_left_to_ray(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cluster.make_token_private(tmp_path / "file" / "auth_token")
    assert (tmp_path / "file").read_bytes() == b""
