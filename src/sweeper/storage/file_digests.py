"""Digests of the files that numbers rest on: written when a file is made, and checked when it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from sweeper.errors import StoreError

FileDigests: TypeAlias = Mapping[str, tuple[int, str]]
"""Path within a folder -> size in bytes, and SHA-256 in hex digits."""


def digest_files(folder: Path, patterns: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Compute the digests of the files of a folder.

    Args:
        folder: the folder.
        patterns: glob patterns within it, such as `*.parquet` or `model/**/*`.

    Returns:
        Path within the folder -> size and SHA-256. Hidden files are left out.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_bytes(b"abc")
        >>> digest_files(folder, ["*.txt"])["a.txt"][0]
        3
    """
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    names = [path.relative_to(folder) for path in files]
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return {name.as_posix(): _digest_file(folder / name) for name in visible}


def check_files(folder: Path, digests: FileDigests, prefix: str = "", hint: str = "") -> None:
    """Check that the files of a folder are those that were written. Each is read once per process while unchanged.

    Args:
        folder: the folder.
        digests: as `digest_files` returned them; empty for a folder of version 0.1.0, which kept none.
        prefix: only files whose path within the folder begins with it.
        hint: what to do about damage; by default, to delete the folder.

    Raises:
        StoreError: a file is missing, or differs from what was written.
    """
    hint = hint or f"delete {folder} and run again"
    for name, (size, sha256) in digests.items():
        if not name.startswith(prefix):
            continue
        path = folder / name
        try:
            actual = _digest_file(path)
        except OSError as error:
            raise StoreError(str(path), found=f"cannot be read: {error.strerror or error}", hint=hint) from error
        if actual != (size, sha256):
            found = f"{actual[0]:,} bytes instead of {size:,}" if actual[0] != size else "another SHA-256"
            raise StoreError(str(path), requested="the file that was written", found=f"damaged: {found}", hint=hint)


def check_log(path: Path, size: int, sha256: str, hint: str) -> None:
    """Check that a file that only grows still begins with what was written.

    Args:
        path: the file.
        size: bytes that were written.
        sha256: of these bytes, hex digits.
        hint: what to do about damage.

    Raises:
        StoreError: it is missing, shorter, or begins with something else.
    """
    try:
        with path.open("rb") as file:
            start = file.read(size)
    except OSError as error:
        raise StoreError(str(path), found=f"cannot be read: {error.strerror or error}", hint=hint) from error
    if len(start) < size or hashlib.sha256(start).hexdigest() != sha256:
        found = (
            f"damaged: {len(start):,} bytes instead of {size:,}" if len(start) < size else "damaged: another SHA-256"
        )
        raise StoreError(str(path), requested="the lines that were written", found=found, hint=hint)


def _digest_file(path: Path) -> tuple[int, str]:
    stat = path.stat()
    return stat.st_size, _hash_file(path, (stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=65_536)
def _hash_file(path: Path, version: tuple[int, int, int, int]) -> str:
    """Hash a file, once for each version of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
