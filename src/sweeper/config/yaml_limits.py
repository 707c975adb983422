"""Limits of YAML from other people: its bytes, its depth, and its values once every alias stands for what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

MAX_BYTES = 2**20
"""Of a file. One of this size takes about half a minute to parse."""
MAX_VALUES = 200_000
"""Keys and values of a file. Long texts count as several, so that aliases cannot multiply them."""
MAX_DEPTH = 64
"""Mappings and lists within each other."""
_CHARACTERS_PER_VALUE = 64
_MAX_SHOWN = 300
"""Characters of a text in a message."""


class YamlLimitError(ValueError):
    """YAML that exceeds a limit; the message says which."""


def read_limited_text(path: Path) -> str:
    """Read a text file, and no more of it than the limit.

    Args:
        path: the file.

    Returns:
        Its text.

    Raises:
        YamlLimitError: it is larger.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    check_size(len(content))
    return content.decode()


def shorten(text: str) -> str:
    """Shorten a text for a message.

    Args:
        text: what was found in a file.

    Returns:
        Its beginning, and how long it is.

    Example:
        >>> shorten("seed: 7"), len(shorten("seed: 7, " * 1_000)) < 400
        ('seed: 7', True)
    """
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text):,} characters)"


def check_size(size: int) -> None:
    """Refuse a document of more bytes than the limit.

    Args:
        size: its bytes.

    Raises:
        YamlLimitError: there are more.

    Example:
        >>> check_size(1_000)
    """
    if size > MAX_BYTES:
        raise YamlLimitError(f"larger than {MAX_BYTES:,} bytes")


def copy_within_limits(document: object, max_values: float = MAX_VALUES) -> Any:
    """Copy what ruamel.yaml has parsed, lines included. Each alias becomes a copy of its own.

    Args:
        document: ruamel's nodes, or plain dicts, lists and scalars.
        max_values: keys and values that it may have.

    Returns:
        The copy. Scalars are shared.

    Raises:
        YamlLimitError: too many values, nested too deeply, or a value that contains itself.

    Example:
        >>> shared = [1]
        >>> copy_within_limits({"a": shared, "b": shared})
        {'a': [1], 'b': [1]}
    """
    return _Copier(max_values).copy(document, depth=0)


class _Copier:
    def __init__(self, max_values: float) -> None:
        self._values, self._max_values = 0.0, max_values

    def copy(self, node: object, depth: int) -> Any:
        """Copy a node and what is below it."""
        self._count(node)
        if not isinstance(node, dict | list):
            return node
        if depth >= MAX_DEPTH:
            raise YamlLimitError(f"nested more than {MAX_DEPTH} deep")
        if isinstance(node, list):
            items = [self.copy(item, depth + 1) for item in node]
            return _keep_lines(node, CommentedSeq(items)) if isinstance(node, CommentedSeq) else items
        copied: dict[Any, Any] = CommentedMap() if isinstance(node, CommentedMap) else {}
        for key, value in node.items():
            self._count(key)
            copied[key] = self.copy(value, depth + 1)
        return _keep_lines(node, copied) if isinstance(node, CommentedMap) else copied

    def _count(self, value: object) -> None:
        self._values += 1 + (len(value) / _CHARACTERS_PER_VALUE if isinstance(value, str | bytes) else 0)
        if self._values > self._max_values:
            raise YamlLimitError(f"more than {self._max_values:,} values, counting what every alias stands for")


def _keep_lines(node: CommentedMap | CommentedSeq, copied: Any) -> Any:
    if node.lc.data:
        copied.lc.data = dict(node.lc.data)
    copied.lc.line, copied.lc.col = node.lc.line, node.lc.col
    return copied
