"""Hashes are cached while a file is unchanged, and no longer."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from sweeper.data import file_hashes
from sweeper.data.file_hashes import hash_files
from sweeper.errors import DataError


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were really hashed; the cache within the process is bypassed."""
    done: list[Path] = []
    real = file_hashes._hash_file.__wrapped__
    monkeypatch.setattr(file_hashes, "_hash_file", lambda file, key: done.append(file) or real(file, key))
    monkeypatch.setattr(file_hashes, "_MIN_FILE_AGE_NS", -(10**12))
    return done


def test_hash_files_hashes_again_only_after_a_change(tmp_path: Path, hashed: list[Path]) -> None:
    file, cache = tmp_path / "x", tmp_path / "cache.json"
    file.write_bytes(b"one")
    assert hash_files([file], cache) == hash_files([file], cache) == [hashlib.sha256(b"one").digest()]
    assert hashed == [file]
    times = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hash_files([file], cache) == [hashlib.sha256(b"two").digest()], "same size, same modification time"
    assert hashed == [file, file]


def test_hash_files_does_not_cache_a_file_just_written(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "_MIN_FILE_AGE_NS", 10**12)
    (tmp_path / "x").write_bytes(b"one")
    for _ in range(2):
        hash_files([tmp_path / "x"], tmp_path / "cache.json")
    assert len(hashed) == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 1}', '{"x": [1]}'])
def test_hash_files_ignores_a_damaged_cache(tmp_path: Path, damage: str) -> None:
    (tmp_path / "x").write_bytes(b"one")
    (tmp_path / "cache.json").write_text(damage)
    assert hash_files([tmp_path / "x"], tmp_path / "cache.json") == [hashlib.sha256(b"one").digest()]


def test_hash_files_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        hash_files([tmp_path / "none"])


def test_hash_files_works_without_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "_MIN_FILE_AGE_NS", -(10**12))
    (tmp_path / "x").write_bytes(b"one")
    cache = tmp_path / "x" / "cache.json"  # its folder is a file
    assert hash_files([tmp_path / "x"], cache) == [hashlib.sha256(b"one").digest()]
