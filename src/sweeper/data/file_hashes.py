"""SHA-256 of files, cached: hashing a gigabyte takes seconds, and every command needs the hash."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from sweeper.errors import DataError
from sweeper.storage import write_bytes

_MIN_FILE_AGE_NS = 2_000_000_000
"""Files changed more recently than this are not cached: they may change again within one tick of the clock."""


def hash_files(files: Sequence[Path], hash_cache: Path | None = None) -> list[bytes]:
    """Return the SHA-256 of each file's bytes, in order.

    Args:
        hash_cache: a JSON file of hashes by path, with size, inode and times of modification and change. While all of
            these are unchanged, so are the bytes: a program cannot set the time of change (ctime).

    Raises:
        DataError: a file cannot be read.
    """
    known = _read_hash_cache(hash_cache) if hash_cache else {}
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        hashed = list(pool.map(lambda file: _hash_unless_cached(file, known), files))
    horizon = time.time_ns() - _MIN_FILE_AGE_NS
    fresh: dict[str, list[int | str]] = {
        str(file.resolve()): [*key, digest.hex()]
        for file, (key, digest) in zip(files, hashed, strict=True)
        if max(key[2:]) < horizon
    }
    if hash_cache and any(known.get(path) != entry for path, entry in fresh.items()):
        with suppress(OSError):  # a full disk: the cache only saves time
            write_bytes(hash_cache, json.dumps(known | fresh).encode())
    return [digest for _, digest in hashed]


def _hash_unless_cached(
    file: Path, known_hashes: dict[str, list[int | str]]
) -> tuple[tuple[int, int, int, int], bytes]:
    try:
        stat = file.stat()
        key = (stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
        entry = known_hashes.get(str(file.resolve()))
        if entry and tuple(entry[:-1]) == key:
            return key, bytes.fromhex(str(entry[-1]))
        return key, _hash_file(file, key)
    except OSError as error:
        raise DataError(f"data {file}", found=f"cannot be read: {error}") from error


@cache  # within one process, several models need the same files
def _hash_file(file: Path, key: tuple[int, int, int, int]) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _read_hash_cache(hash_cache: Path) -> dict[str, list[int | str]]:
    """Read the cache; empty where the file is missing or damaged, since it only saves time."""
    try:
        cache = json.loads(hash_cache.read_bytes())
    except (OSError, ValueError):
        return {}
    is_valid = isinstance(cache, dict) and all(isinstance(entry, list) and len(entry) == 5 for entry in cache.values())
    return cache if is_valid else {}
