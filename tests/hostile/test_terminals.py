"""Terminals that cannot write every character, and streams that are closed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PINNED = Path(__file__).resolve().parents[1] / "pinned"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PINNED / "store", tmp_path / "store"))


def run(command: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """Run a command line of the shell, with `sweeper` as Python's module."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    command = command.replace("sweeper", f"{sys.executable} -m sweeper", 1)
    return subprocess.run(command, shell=True, capture_output=True, env=environment, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_narrow_encoding_ends_no_command(store: Path, encoding: str) -> None:
    for command in ("status tiny", "report tiny"):
        done = run(f"sweeper {command} --storage {store}", encoding)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
    page = (store / "studies" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert "−" in page


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">&-", "2>&-", "| head -c 1"])
def test_closed_stream_is_no_error(store: Path, redirection: str) -> None:
    done = run(f"sweeper status tiny --storage {store} {redirection}")
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr


@pytest.mark.slow
def test_hostile_name_of_a_study_is_shown_and_not_obeyed(store: Path) -> None:
    command = [sys.executable, "-m", "sweeper", "status", "\x1b]0;owned\x07[red]", "--storage", str(store)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr
    assert "␛]0;owned␇[red]" in done.stderr.decode()
