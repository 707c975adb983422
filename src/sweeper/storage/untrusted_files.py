"""Folders and JSON texts of other people: listed and parsed so that nothing in them can surprise a reader."""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

from sweeper.storage.atomic_io import Json

_ARCHIVE_LEFTOVER = "__MACOSX"
WIDE_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SURROGATES = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"
_STRING_END = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*(?:(")|(\\?)\Z)', re.DOTALL)
"""Where the rest of a string ends, or else the block does, perhaps with half of an escape."""
_BRACKETS = re.compile(rb"[\[{]+|[\]}]+")
_MAX_NESTING = 500
_MAX_STRING_BYTES = 16 << 20


@dataclass(frozen=True)
class FoundFiles:
    """The files of a folder."""

    files: tuple[Path, ...]
    """Regular files in the order of their paths."""
    n_hidden: int = 0
    """Files left out because a part of their path within the folder is hidden, or is `__MACOSX`."""
    n_special: int = 0
    """Left out because they are no regular files: pipes, devices, broken links."""

    def describe_left_out(self) -> str:
        """Describe what was left out, in one line; empty for nothing."""
        parts = [f"{self.n_hidden} hidden"] if self.n_hidden else []
        parts += [f"{self.n_special} that are no regular files"] if self.n_special else []
        return f"left out of the folder: {', '.join(parts)}" if parts else ""


def list_files(folder: Path, pattern: str = "*") -> FoundFiles:
    """List the files of a folder and its subfolders. Links are followed, each folder once.

    Args:
        folder: the folder.
        pattern: of the names, such as `*.json`.

    Returns:
        The files, and the numbers of those left out whose names have the pattern.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.json", ".b.json"):
        ...     _ = (folder / name).write_text("{}")
        >>> found = list_files(folder, "*.json")
        >>> [path.name for path in found.files], found.n_hidden
        (['a.json'], 1)
    """
    files, hidden, special, seen = [], 0, 0, set[tuple[int, int]]()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in names:
            if not fnmatchcase(name, pattern):
                continue
            path = Path(place, name)
            if is_hidden(path.relative_to(folder)):
                hidden += 1
            elif not _is_regular(path):
                special += 1
            else:
                files.append(path)
    return FoundFiles(tuple(sorted(files)), hidden, special)


def is_hidden(path: Path) -> bool:
    """Return whether a part of a relative path is hidden, or is what an archive program left."""
    return any(part.startswith(".") or part == _ARCHIVE_LEFTOVER for part in path.parts)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


class JsonTextError(ValueError):
    """A text that cannot be read as JSON: why, and where if that is known."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line, self.column = line, column

    @property
    def place(self) -> str:
        """`:line:column`, or empty."""
        return "" if self.line is None else f":{self.line}:{self.column}"


@dataclass(frozen=True)
class ParsedJson:
    """A value parsed from a JSON text."""

    value: Json
    n_replaced: int = 0
    """Halves of characters (lone surrogates), which no file can hold, replaced by U+FFFD."""


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Raises:
        JsonTextError: another encoding, which is named if its byte order mark tells it.
    """
    for mark, name in WIDE_ENCODINGS.items():
        if content.startswith(mark):
            raise JsonTextError(f"{name} text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonTextError(f"not UTF-8: byte {error.start:,} is {content[error.start]:#04x}") from error


def parse_json(content: bytes | str, *, unique_keys: bool = False) -> ParsedJson:
    """Parse a JSON text of unknown origin.

    Args:
        content: the text, or its bytes.
        unique_keys: whether the outermost object is keyed by ids, so that a repeated key would hide a value.

    Returns:
        The value, and the number of halves of characters that were replaced.

    Raises:
        JsonTextError: another encoding, no JSON, nested too deep, a number of too many digits, or a repeated id.

    Example:
        >>> parse_json(b'{"a": "\\\\ud83d"}').n_replaced
        1
    """
    text = decode_text(content) if isinstance(content, bytes) else content
    repeated: dict[int, tuple[str, object]] = {}

    def build(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        built = dict(pairs)
        if len(built) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            # With the object itself, so that its id stays its own.
            repeated[id(built)] = next(key for key, count in counts.items() if count > 1), built
        return built

    try:
        value: Json = json.loads(text, object_pairs_hook=build if unique_keys else None)
    except json.JSONDecodeError as error:
        raise JsonTextError(f"not JSON: {error.msg}", error.lineno, error.colno) from error
    except RecursionError as error:
        raise JsonTextError("nested too deep") from error
    except ValueError as error:
        raise JsonTextError(f"a number of too many digits: {str(error).partition(';')[0]}") from error
    if isinstance(value, dict) and id(value) in repeated:
        raise JsonTextError(f"the key {repeated[id(value)][0]!r} occurs twice")
    if "\\ud" not in text.lower() and not _SURROGATES.search(text):
        return ParsedJson(value)
    whole, count = replace_surrogates(json.dumps(value, ensure_ascii=False))
    return ParsedJson(json.loads(whole), count) if count else ParsedJson(value)


class NestingLimit:
    """Refuses JSON that is nested too deep, block by block, before a parser that streams it sees the block.

    Such a parser keeps the path of each level: a hundred thousand levels in half a megabyte took 24 GB.

    Example:
        >>> limit = NestingLimit()
        >>> limit.check(b'[{"a": "[[["')
        >>> limit.depth
        2
    """

    def __init__(self) -> None:
        self.depth = 0
        """Lists and objects that are open where the last block ends."""
        self._is_in_string, self._string_bytes, self._escape = False, 0, b""

    def check(self, block: bytes) -> None:
        """Check the next block.

        Args:
            block: bytes of the text; it may end within a string.

        Raises:
            JsonTextError: over 500 levels, or a string of over 16 MiB.
        """
        text, position = self._escape + block, 0
        self._escape = b""
        while position < len(text):
            if self._is_in_string:
                position = self._skip_string(text, position)
                continue
            quote = text.find(b'"', position)
            end = len(text) if quote < 0 else quote
            for brackets in _BRACKETS.findall(text, position, end):
                self.depth += len(brackets) if brackets[0] in b"[{" else -len(brackets)
                if self.depth > _MAX_NESTING:
                    raise JsonTextError("nested too deep")
            self._is_in_string, position = quote >= 0, end + 1

    def _skip_string(self, text: bytes, position: int) -> int:
        found = cast("re.Match[bytes]", _STRING_END.match(text, position))  # it matches every text
        self._string_bytes += found.end() - position
        if self._string_bytes > _MAX_STRING_BYTES:
            raise JsonTextError(f"a string of over {_MAX_STRING_BYTES >> 20} MiB")
        if found[1]:
            self._is_in_string, self._string_bytes = False, 0
        self._escape = found[2] or b""
        return found.end()


def replace_surrogates(text: str) -> tuple[str, int]:
    """Replace halves of characters by U+FFFD: JSON can spell them, and UTF-8 cannot hold them.

    Args:
        text: any text.

    Returns:
        The text, and the number of replacements.

    Example:
        >>> replace_surrogates("half \\ud83d of it")
        ('half \ufffd of it', 1)
    """
    return _SURROGATES.subn(REPLACEMENT, text)
