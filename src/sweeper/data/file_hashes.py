"""SHA-256 of files, remembered: a gigabyte takes seconds to hash, and a sweep asks again at every command."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from sweeper.errors import DataError
from sweeper.storage import write_bytes

_MIN_FILE_AGE_NS = 2_000_000_000
"""A file changed less than this before it was hashed may change again within one tick of the clock: not remembered."""


def hash_files(files: Sequence[Path], hash_cache: Path | None = None) -> list[bytes]:
    """SHA-256 of each file's bytes, in their order. Raises DataError for a file that cannot be read.

    `memory` is a JSON file that holds digests by path, with size, inode and times of modification and change: as
    long as all of these are the same, the bytes are taken to be the same. The time of change cannot be set by hand.
    """
    known = _read_hash_cache(hash_cache) if hash_cache else {}
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        found = list(pool.map(lambda file: _hash_unless_cached(file, known), files))
    horizon = time.time_ns() - _MIN_FILE_AGE_NS
    fresh: dict[str, list[int | str]] = {
        str(file.resolve()): [*key, digest.hex()]
        for file, (key, digest) in zip(files, found, strict=True)
        if max(key[2:]) < horizon
    }
    if hash_cache and any(known.get(path) != entry for path, entry in fresh.items()):
        write_bytes(hash_cache, json.dumps(known | fresh).encode())
    return [digest for _, digest in found]


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


@cache  # within one process, one model after another asks for the same files
def _hash_file(file: Path, key: tuple[int, int, int, int]) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _read_hash_cache(hash_cache: Path) -> dict[str, list[int | str]]:
    """What is remembered; nothing where the file is missing or damaged: it only saves time."""
    try:
        found = json.loads(hash_cache.read_bytes())
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(entry, list) and len(entry) == 5 for entry in found.values())
    return found if whole else {}
