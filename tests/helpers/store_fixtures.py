"""Fixtures: a server that speaks S3 on this machine, and stores as several machines see them."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import Machines, Server
from parts import report_missing

from sweeper.storage import Store, lease, object_store


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    missing = [name for name in ("s3fs", "moto", "flask") if importlib.util.find_spec(name) is None]
    if missing:
        report_missing(f"{', '.join(missing)} not installed: pip install -e '.[dev]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield server
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """The server, and an environment in which URLs mean it; `s3://bucket` exists."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    from sweeper.storage.object_store import _connect_filesystem

    _connect_filesystem.cache_clear()
    fs, _ = _connect_filesystem("s3://bucket", os.getpid())
    if not fs.exists("bucket"):
        fs.mkdir("bucket")
    return s3_server


@pytest.fixture
def s3_url(s3: Server) -> str:
    """URL of a new store on the server."""
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses before a retry and between two looks at a lease."""
    monkeypatch.setattr(object_store, "INITIAL_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)


S3 = pytest.param("s3", marks=pytest.mark.slow)


def _machines(request: pytest.FixtureRequest, tmp_path: Path) -> Machines:
    kind = request.param
    if kind == "local":
        return Machines(Store(tmp_path / "store"), Store(tmp_path / "store"))
    name = uuid.uuid4().hex
    if kind == "s3":
        request.getfixturevalue("s3")
    # `renamed` is not how a person has it (file:// is a local store): it stands for drivers without atomic uploads.
    url = {"memory": f"memory://{name}/store", "renamed": f"file://{tmp_path}/far", "s3": f"s3://bucket/{name}"}[kind]
    return Machines(Store(tmp_path / "here", url), Store(tmp_path / "there", url))


@pytest.fixture(params=["local", "memory", "renamed", S3])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Machines:
    return _machines(request, tmp_path)


@pytest.fixture(params=["memory", "renamed", S3])
def far_machines(request: pytest.FixtureRequest, tmp_path: Path) -> Machines:
    """Of a store behind a URL."""
    return _machines(request, tmp_path)
