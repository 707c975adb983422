"""Ray's own processes are found by name and session, and the end of one is told at once."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.execution.ray_backend.process_watch import find_ray_processes, watch_ray_processes


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like Ray's: its name, and the folder of its session in the command line."""
    program = tmp_path / "raylet"
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([program, "600"])
    yield process
    process.kill()
    process.wait()


def test_find_ray_processes_of_one_session_only(raylet: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert find_ray_processes(str(tmp_path)) == {raylet.pid: "raylet"}
    assert find_ray_processes(str(tmp_path / "another")) == {}


def test_watch_tells_the_process_that_ended(raylet: subprocess.Popen[bytes], tmp_path: Path) -> None:
    lost, ended = list[str](), threading.Event()

    def tell(process: str) -> None:
        lost.append(process)
        ended.set()

    with watch_ray_processes(str(tmp_path), tell):
        assert not lost
        raylet.kill()  # it stays a zombie, as Ray's do: its parent has not waited for it
        assert ended.wait(10)
    assert lost == [f"raylet, process {raylet.pid}"]


def test_watch_that_was_left_tells_nothing(raylet: subprocess.Popen[bytes], tmp_path: Path) -> None:
    lost: list[str] = []
    with watch_ray_processes(str(tmp_path), lost.append):
        pass
    raylet.kill()
    raylet.wait()
    assert "ray-process-watch" not in {thread.name for thread in threading.enumerate()}
    assert lost == []
