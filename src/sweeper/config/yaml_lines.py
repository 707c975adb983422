"""YAML 1.2 files whose values keep the line they came from, so that every error can give it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from sweeper.config.base import UNKNOWN_CHOICE, FrozenConfig
from sweeper.config.yaml_limits import YamlLimitError, check_size, copy_within_limits, read_limited_text, shorten
from sweeper.errors import ConfigError, UsageError, has_secret, suggest_nearest
from sweeper.storage import write_bytes

ConfigT = TypeVar("ConfigT", bound=FrozenConfig)
Keys = Sequence[str | int]
"""Keys and list indices that lead from the top of a file to a value, such as `("claims", 0, "axis")`."""


@dataclass(frozen=True)
class Problem:
    """A mistake in a sweep file, before it becomes a `ConfigError` with file and line."""

    keys: Keys
    """Path to the value at fault."""
    requested: str
    found: str
    hint: str = ""


@dataclass(frozen=True)
class YamlFile:
    """The mapping in a YAML file. Values that `--set` gave have no line."""

    path: Path
    node: CommentedMap

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read a file. Tags are never executed.

        Raises:
            ConfigError: no such file, invalid YAML, or not a mapping.
        """
        try:
            document = copy_within_limits(_parse_yaml(read_limited_text(path)))
        except FileNotFoundError as error:
            raise ConfigError(str(path), found="no such file") from error
        except YamlLimitError as error:
            raise ConfigError(str(path), found=f"too large or deep for a configuration: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(path), found=f"cannot be read: {error}") from error
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{path}:{line}", found=f"not valid YAML: {error.problem}") from error
        except (YAMLError, ValueError) as error:
            raise ConfigError(str(path), found=f"not valid YAML: {error}") from error
        except RecursionError as error:
            raise ConfigError(str(path), found="not valid YAML: nested too deeply") from error
        if document is None:
            raise ConfigError(f"{path}:1", found="an empty file, not a mapping of keys to values")
        if not isinstance(document, CommentedMap):
            found = "a list" if isinstance(document, list) else "a single value"
            raise ConfigError(f"{path}:1", found=f"{found}, not a mapping of keys to values")
        return cls(path, document)

    @property
    def content(self) -> dict[str, Any]:
        """The mapping as plain Python values."""
        return {str(key): to_builtin(value) for key, value in self.node.items()}

    def locate(self, keys: Keys) -> str:
        """Return `file:line` of a value, or `--set (over file)` for a value without a line."""
        if not self.node.lc.data:  # a mapping that was not read from a file
            return str(self.path)
        line = find_line(self.node, keys)
        if line is None and keys and keys[0] in self.node:
            return f"--set (over {self.path})"
        return f"{self.path}:{line or 1}"

    def make_error(self, problem: Problem) -> ConfigError:
        """Return the error of a problem, with file and line."""
        requested, found = shorten(problem.requested), shorten(problem.found)
        return ConfigError(self.locate(problem.keys), requested=requested, found=found, hint=problem.hint)

    def raise_first(self, problems: Iterable[Problem]) -> None:
        """Raise the error of the first problem, if there is any."""
        for problem in problems:
            raise self.make_error(problem)

    def require_mapping(self, value: object, keys: Keys) -> CommentedMap:
        """Return an entry that must be a mapping of fields, as ruamel's.

        Raises:
            ConfigError: anything else.
        """
        if not isinstance(value, dict):
            raise self.make_error(Problem(keys, f"{'.'.join(map(str, keys))}: {value!r}", "neither a name nor fields"))
        mapping: CommentedMap = to_commented(value)
        return mapping

    def validate(
        self, kind: type[ConfigT], fields: object, keys: Keys = (), known: Iterable[str] | None = None
    ) -> ConfigT:
        """Build a configuration object from fields of this file.

        Args:
            kind: its class.
            fields: its fields, as ruamel's nodes or plain values.
            keys: path to them in this file.
            known: keys to suggest for an unknown one beside `fields`; by default the fields of `kind`.

        Raises:
            ConfigError: a secret in a URL; or pydantic's first complaint, with file, line and, for an unknown name, the
                nearest known one.
        """
        values, found = (
            to_builtin(fields),
            "the URL contains a password or a key, and configurations are displayed and stored",
        )
        self.raise_first(
            Problem([*keys, *below], ".".join(map(str, [*keys, *below])), found, "give it in the environment")
            for below in _find_secrets(values)
        )
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            nested = _find_nested_kind(kind, _select_complaint(error)["loc"])
            names = known if known and nested is kind else nested.model_fields
            raise self.make_validation_error(error, names, keys) from error

    def make_validation_error(self, error: ValidationError, known: Iterable[str], prefix: Keys = ()) -> ConfigError:
        """Turn pydantic's first complaint about fields below `prefix` into an error with file and line."""
        first = _select_complaint(error)
        message, value = first["msg"].removeprefix("Value error, "), first["input"]
        below = [key for key in first["loc"] if not str(key).startswith(("function-", "constrained-"))]
        keys = [*prefix, *below]
        dotted = ".".join(str(key) for key in keys) or "the file"
        if first["type"] == "missing":
            return self.make_error(Problem(keys[:-1], dotted, message))
        if first["type"] == "extra_forbidden":
            name = str(below[-1])
            return self.make_error(Problem(keys, dotted, f"unknown key `{name}`", suggest_nearest(name, known)))
        if first["type"] == UNKNOWN_CHOICE:
            hint = suggest_nearest(str(value), first["ctx"]["names"])
            return self.make_error(Problem(keys, f"{dotted}: {value}", message, hint))
        # A password belongs neither on the screen nor in a log.
        shown = "" if not below or "password" in message else f" (given: {value!r})"
        return self.make_error(Problem(keys, dotted, message + shown))


def _find_secrets(value: object) -> Iterator[Keys]:
    """Find the texts that have a URL with a secret; yield the path to each."""
    if isinstance(value, str) and has_secret(value):
        yield ()
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        for below in _find_secrets(item):
            yield (key, *below)


def _select_complaint(error: ValidationError) -> ErrorDetails:
    """Return pydantic's first complaint. A misspelled key comes before the field that is missing because of it."""
    complaints = error.errors(include_url=False)
    first = complaints[0]
    if first["type"] != "missing":
        return first
    beside = (c for c in complaints if c["type"] == "extra_forbidden" and c["loc"][:-1] == first["loc"][:-1])
    return next(beside, first)


def _find_nested_kind(kind: type[FrozenConfig], loc: Sequence[str | int]) -> type[FrozenConfig]:
    """Return the class of the mapping that holds a value, from the path to that value below a mapping of `kind`."""
    for key in loc[:-1]:
        if (field := kind.model_fields.get(str(key))) is not None:
            types = (field.annotation, *get_args(field.annotation))
            kind = next((t for t in types if isinstance(t, type) and issubclass(t, FrozenConfig)), kind)
    return kind


@lru_cache(maxsize=128)  # combined sweeps name the same files; a copy takes little of the time
def _parse_yaml(text: str) -> object:
    return YAML(typ="rt").load(text)


def read_yaml_as_dict(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file as plain values.

    Raises:
        ConfigError: no such file, invalid YAML, or not a mapping.
    """
    return YamlFile.read(path).content


def write_yaml(path: Path, document: Mapping[str, object]) -> None:
    """Write a mapping as YAML, atomically.

    Raises:
        ConfigError: it is too large to be read back; nothing is written.
    """
    stream = io.BytesIO()
    YAML(typ="safe", pure=True).dump(document, stream)
    try:
        check_size(len(stream.getvalue()))
    except YamlLimitError as error:
        raise ConfigError(str(path), found=f"a configuration {error}", hint="fewer values in its axes") from error
    write_bytes(path, stream.getvalue())


def parse_yaml_value(text: str) -> Any:
    """Parse a YAML 1.2 value, such as the part of `--set` after `=`.

    Raises:
        UsageError: not valid YAML.
    """
    try:
        return copy_within_limits(YAML(typ="safe", pure=True).load(io.StringIO(text)))
    except YamlLimitError as error:
        raise UsageError("--set", requested=shorten(text), found=str(error)) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError("--set", requested=shorten(text), found="not a YAML value") from error


def to_builtin(node: object) -> Any:
    """Convert ruamel's nodes to plain dicts, lists and scalars."""
    if isinstance(node, dict):
        return {str(key): to_builtin(value) for key, value in node.items()}
    if isinstance(node, list):
        return [to_builtin(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def to_plain(value: object) -> Any:
    """Convert a value from Python to what YAML can hold: tuples, ranges and arrays become lists, paths become text."""
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range | set | frozenset):
        return [to_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value  # arrays and numbers of NumPy, pandas and torch


def to_commented(node: Any) -> Any:
    """Convert plain mappings in `node` to ruamel's, so that overrides can reach into them; lines are kept."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        node[key] = to_commented(value)
    return CommentedMap(node) if isinstance(node, dict) and not isinstance(node, CommentedMap) else node


def find_line(node: object, keys: Keys) -> int | None:
    """Find the line of the deepest existing value along `keys`.

    Returns:
        The line, from 1; None for a value that has none because `--set` gave it.
    """
    line: int | None = None
    for key in keys:
        if isinstance(node, CommentedMap) and key in node:
            if key not in (node.lc.data or {}):
                return None
            line, node = node.lc.key(key)[0] + 1, node[key]
        elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
            line, node = (node.lc.item(key)[0] + 1 if key in (node.lc.data or {}) else line), node[key]
        elif (isinstance(node, dict) and key in node) or isinstance(node, list):
            return None
        else:
            break
    return line
