"""Open the training data of a configuration. The format is detected from the data."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import assert_never

from sweeper.config import DataSpec
from sweeper.data.readers.base import READERS, DataLocation, Match, Source, read_format
from sweeper.data.test_queries import find_tool_categories
from sweeper.errors import DataError, MissingPathError

GENERATED = "toolworld"
"""The `source` that needs no path."""


def open_source(spec: DataSpec, storage: Path | None = None) -> Source:
    """Open the data that a specification names.

    Args:
        spec: the data; its `path` is read by the reader that matches it best.
        storage: folder of a store, where hashes of files are cached between commands.

    Raises:
        DataError: the data are missing, or of no known format.
        UsageError: wrong settings of a generated world.
    """
    match spec.source:
        case "toolworld":
            return READERS.load("toolworld").open(DataLocation(Path(), ""), spec)
        case "toolbench":
            return _open_path(spec, storage)
        case _:
            assert_never(spec.source)


def _open_path(spec: DataSpec, storage: Path | None) -> Source:
    if spec.path is None:
        raise DataError(
            f"data {spec.name}", found="no path", hint="give the path of ToolBench training data (data.path)"
        )
    location = DataLocation(Path(spec.path).expanduser(), spec.path)
    try:
        source = READERS.load(_detect_reader(location)).open(location, spec)
    except OSError as error:
        raise DataError(f"data {location.path}", found=f"cannot be read: {error}") from error
    cache = storage / "data" / ".digests.json" if storage else None
    load_categories = source.load_categories or partial(find_tool_categories, location.path)
    return replace(source, hash_cache=cache, load_categories=load_categories)


def _detect_reader(location: DataLocation) -> str:
    """Return the name of the reader that matches best."""
    matches = {name: READERS.load(name).match(location) for name in READERS.names}
    name = max(matches, key=matches.__getitem__)
    if matches[name] > Match.NONE:
        return name
    if not location.path.exists():
        raise MissingPathError(
            f"data {location.path}",
            found="no such file or folder",
            hint="a path of training data, or a hub id (owner/name)",
        )
    known = "; ".join(read_format(name).description for name in READERS.names if name != GENERATED)
    raise DataError(f"data {location.path}", found="no known format of training data", hint=f"known formats: {known}")
