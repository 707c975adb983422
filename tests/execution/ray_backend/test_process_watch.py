"""Ray's own processes are found by name and session, and the end of one is told at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweeper.execution.ray_backend.process_watch import find_ray_processes, watch_ray_processes


@contextmanager
def run_as(name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([program, "600"])
    cmdline, start = Path("/proc", str(process.pid), "cmdline"), time.monotonic()
    while not cmdline.read_bytes():  # the kernel fills it in a moment after the program has started
        assert time.monotonic() - start < 10
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like Ray's: its name, and the folder of its session in the command line."""
    with run_as("raylet", tmp_path / "node" / "session_1") as process:
        yield process


def test_find_ray_processes_finds_its_own_raylet_and_the_gcs_of_the_cluster(
    raylet: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with (
        run_as("gcs_server", tmp_path / "head" / "session_1") as gcs,
        run_as("raylet", tmp_path / "head" / "session_1"),
    ):
        found = find_ray_processes(str(tmp_path / "node" / "session_1"))
    assert found == {raylet.pid: "raylet", gcs.pid: "gcs_server"}
    assert find_ray_processes(str(tmp_path / "node" / "session_2")) == {}


def test_watch_tells_the_process_that_ended(raylet: subprocess.Popen[bytes], tmp_path: Path) -> None:
    lost, ended = list[str](), threading.Event()

    def tell(process: str) -> None:
        lost.append(process)
        ended.set()

    with watch_ray_processes(str(tmp_path / "node" / "session_1"), tell):
        assert not lost
        raylet.kill()  # it stays a zombie, as Ray's do: its parent has not waited for it
        assert ended.wait(10)
    assert lost == [f"raylet, process {raylet.pid}"]


def test_watch_that_was_left_tells_nothing(raylet: subprocess.Popen[bytes], tmp_path: Path) -> None:
    lost: list[str] = []
    with watch_ray_processes(str(tmp_path / "node" / "session_1"), lost.append):
        pass
    raylet.kill()
    raylet.wait()
    assert "ray-process-watch" not in {thread.name for thread in threading.enumerate()}
    assert lost == []


@pytest.mark.parametrize(
    ("last", "code", "is_told"),
    [
        ("os._exit(7)", 7, True),
        ("os.kill(os.getpid(), 9)", -9, True),
        ("dismiss(); os._exit(7)", 7, False),
        ("pass", 0, False),
    ],
)
def test_sudden_end_is_told_by_a_process_that_outlives_it(last: str, code: int, is_told: bool) -> None:
    program = f"""
import os
from sweeper.execution.ray_backend.process_watch import announce_sudden_end
with announce_sudden_end("an end") as dismiss:
    {last}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == ("an end\n" if is_told else "")
