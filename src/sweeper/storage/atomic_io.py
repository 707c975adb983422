"""Atomic file writes, strict JSON that shows damage, hard links, and the repair of files that grow line by line."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from sweeper.errors import StoreError

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""A JSON value."""
JsonObject: TypeAlias = dict[str, Any]
"""A JSON object whose values are not checked: a document that was read from a file or received from a server."""


SEAL = "sha256"
"""Last key of a stored document: the SHA-256 of the text before it."""
_SEAL_START = f',\n  "{SEAL}": "'.encode()
_SEAL_LENGTH = len(_SEAL_START) + 64 + len(b'"\n}')


def write_json(path: Path, document: Mapping[Any, Any]) -> None:
    """Write strict JSON atomically: a reader sees the old file or the new one, never a part of it.

    The document gets a checksum as its last key, which `read_json` checks and removes.

    Args:
        path: the file; its folder is created.
        document: converted by `to_strict_json`.

    Raises:
        TypeError: a value that has no JSON form.
    """
    content = dump_json(document, indent=2).encode()
    if document:
        start = content.removesuffix(b"\n}")
        content = start + _SEAL_START + hashlib.sha256(start).hexdigest().encode() + b'"\n}'
    write_bytes(path, content)


def dump_json(document: object, indent: int | None = None) -> str:
    """Serialize a document as strict JSON.

    Args:
        document: converted by `to_strict_json`.
        indent: spaces per level; None writes one line, which is several times as fast for large documents.

    Returns:
        Strict JSON text.

    Raises:
        TypeError: a value that has no JSON form.

    Example:
        >>> dump_json({"rate": float("nan")}, indent=None)
        '{"rate": null}'
    """
    return json.dumps(_convert_value(document), indent=indent, ensure_ascii=False, allow_nan=False)


def to_strict_json(document: Mapping[Any, Any]) -> JsonObject:
    """Convert a document to plain JSON values.

    NaN and infinities become None, since strict JSON cannot express them. Keys become strings, tuples and arrays
    become lists, scalars of numpy become Python's, paths and dates become text.

    Raises:
        TypeError: a value of any other type.

    Example:
        >>> to_strict_json({1: (float("nan"), 0.5)})
        {'1': [None, 0.5]}
    """
    return {str(key): _convert_value(value) for key, value in document.items()}


def _convert_value(value: object) -> Json:
    kind = type(value)
    # The most frequent types come first: the report of a large study has millions of numbers.
    if kind is float:
        return value if math.isfinite(value) else None  # type: ignore[arg-type,return-value]
    if kind is int or kind is str or kind is bool or value is None:
        return value  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return to_strict_json(value)
    if isinstance(value, list | tuple):
        return [_convert_value(item) for item in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy, which this package does not import
        return _convert_value(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int | str):
        return value
    if isinstance(value, os.PathLike | datetime.date):
        return str(value)
    raise TypeError(f"{kind.__name__} has no JSON form: {value!r}")


def read_json(path: Path) -> JsonObject:
    """Read a JSON object. One that `write_json` wrote is what was written; one of version 0.1.0 has no checksum.

    Raises:
        StoreError: no such file, not a JSON object, or one that has changed since it was written.
    """
    hint = "delete it and run again"
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except (ValueError, RecursionError, OSError) as error:
        raise StoreError(str(path), found=f"not readable as JSON: {error}", hint=hint) from error
    if not isinstance(document, dict):
        raise StoreError(str(path), found=f"{type(document).__name__}, not a JSON object", hint=hint)
    start, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
    if seal.startswith(_SEAL_START):
        if document.pop(SEAL) != hashlib.sha256(start).hexdigest():
            raise StoreError(str(path), found="damaged or edited: it does not have its checksum", hint=hint)
    elif SEAL in document:
        raise StoreError(str(path), found="damaged or edited: its checksum is out of place", hint=hint)
    return document


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, by way of a temporary file in the same folder that is flushed to disk first.

    The target of a symlink is written, and the link stays. What is no regular file, such as a device or a pipe, is
    written into and never replaced.

    Raises:
        OSError: the file cannot be written; a folder of that name is one reason.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as device:  # a folder raises IsADirectoryError here
            device.write(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: str, target: str) -> None:
    """Hard-link a file, or copy it on file systems without hard links.

    A file made this way must be replaced, never written into: its content may be shared.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def truncate_partial_line(path: Path) -> None:
    """Cut off the incomplete last line that a killed process left, so that the next line starts a line of its own.

    Only the single writer of the file may call this. SIGKILL tears even a small write where it crosses a page
    (docs/adr, 0085).
    """
    if path.exists():
        whole = path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with path.open("r+b") as file:
                file.truncate(end)
