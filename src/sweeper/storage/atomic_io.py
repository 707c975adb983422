"""The ways to write a file: atomically, or not at all; a second name for one that is there; the mending of one that
grows by lines."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from sweeper.errors import StoreError


def write_json(path: Path, document: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half. NaN is written as null."""
    text = json.dumps(to_strict_json(document), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write through a temporary file beside the target, flushed to disk before it takes the name."""
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
    """The same file under another name. Whoever writes to one of them must replace it, never write into it."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def truncate_partial_line(path: Path) -> None:
    """What a killed process left half-written of a file of lines goes: the next would be written into it. For its only
    writer. SIGKILL tears even a small write where it crosses a page (docs/log.md)."""
    if path.exists():
        whole = path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with path.open("r+b") as file:
                file.truncate(end)


def read_json(path: Path) -> Any:
    """The JSON document at `path`. Raises StoreError where it is not one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise StoreError(str(path), found=f"not readable as JSON: {error}", hint="delete it and run again") from error


def to_strict_json(value: Any) -> Any:
    """The same document with NaN and infinities as None, since strict JSON has no word for them."""
    if isinstance(value, dict):
        return {key: to_strict_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_strict_json(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
