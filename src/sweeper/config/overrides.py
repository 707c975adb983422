"""`--set key=value`: values that replace those of a sweep file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ruamel.yaml.comments import CommentedMap

from sweeper.config.sweep import Sweep
from sweeper.config.yaml_lines import parse_yaml_value, to_commented
from sweeper.errors import UsageError


@dataclass(frozen=True)
class Override:
    """A value for a dotted key of a sweep file."""

    key: str
    """Such as `axes.seed`. A segment may hold dots itself: `runtime.opt-1.3b.engine`."""
    value: Any
    """Its value; mappings are ruamel's, so that later overrides can reach into them."""

    @property
    def section(self) -> str:
        """Top-level key of the file that it changes."""
        return self.key.split(".")[0]

    @property
    def is_nested(self) -> bool:
        """Whether it changes a value inside a section."""
        return "." in self.key

    def apply(self, node: CommentedMap) -> None:
        """Set the value in a sweep's mapping.

        Raises:
            UsageError: part of the key leads to a value that is not a mapping.
        """
        self._set(node, self.key.split("."))

    def apply_to_section(self, node: CommentedMap) -> None:
        """Set the value in the mapping of its section.

        Raises:
            UsageError: part of the key leads to a value that is not a mapping.
        """
        self._set(node, self.key.split(".")[1:])

    def _set(self, node: CommentedMap, segments: list[str]) -> None:
        if len(segments) == 1:
            if node.lc.data:
                node.lc.data.pop(segments[0], None)
            node[segments[0]] = self.value
            return
        prefixes = [(".".join(segments[:cut]), segments[cut:]) for cut in range(len(segments) - 1, 0, -1)]
        for prefix, rest in prefixes:  # the longest existing key that may hold dots
            if isinstance(node.get(prefix), CommentedMap):
                self._set(node[prefix], rest)
                return
        if any(isinstance(node.get(prefix), str | int | float | list) for prefix, _ in prefixes):
            raise UsageError("--set", requested=self.key, found=f"`{segments[0]}` is not a mapping")
        # The mapping does not exist yet, so dots are ambiguous: fields of a sweep have none, and neither has the last
        # segment.
        is_plain = len(segments) == 2 or segments[0] in Sweep.model_fields
        prefix, rest = (segments[0], segments[1:]) if is_plain else (".".join(segments[:-1]), segments[-1:])
        node[prefix] = CommentedMap()
        self._set(node[prefix], rest)


def parse_override(text: str) -> Override:
    """Parse `key=value`, the value as YAML 1.2.

    Raises:
        UsageError: no `=`, no key, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError("--set", requested=text, found="no `=`", hint="write --set axes.seed=[0,1]")
    return Override(key.strip(), to_commented(parse_yaml_value(value)))
