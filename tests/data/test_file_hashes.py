"""Digests are remembered while a file is as it was, and never longer."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from sweeper.data import file_hashes as digests
from sweeper.data.file_hashes import hash_files
from sweeper.errors import DataError


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were really hashed; what one process remembers is forgotten."""
    done: list[Path] = []
    real = digests._hash_file.__wrapped__
    monkeypatch.setattr(digests, "_hash_file", lambda file, key: done.append(file) or real(file, key))
    monkeypatch.setattr(digests, "_MIN_FILE_AGE_NS", -(10**12))
    return done


def test_hashed_once_and_again_when_a_byte_changed(tmp_path: Path, hashed: list[Path]) -> None:
    file, memory = tmp_path / "x", tmp_path / "memory.json"
    file.write_bytes(b"one")
    assert hash_files([file], memory) == hash_files([file], memory) == [hashlib.sha256(b"one").digest()]
    assert hashed == [file]
    times = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hash_files([file], memory) == [hashlib.sha256(b"two").digest()], "same size, same modification time"
    assert hashed == [file, file]


def test_a_file_just_written_is_not_remembered(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_MIN_FILE_AGE_NS", 10**12)
    (tmp_path / "x").write_bytes(b"one")
    for _ in range(2):
        hash_files([tmp_path / "x"], tmp_path / "memory.json")
    assert len(hashed) == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 1}', '{"x": [1]}'])
def test_a_damaged_memory_costs_time_and_nothing_else(tmp_path: Path, damage: str) -> None:
    (tmp_path / "x").write_bytes(b"one")
    (tmp_path / "memory.json").write_text(damage)
    assert hash_files([tmp_path / "x"], tmp_path / "memory.json") == [hashlib.sha256(b"one").digest()]


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        hash_files([tmp_path / "none"])
