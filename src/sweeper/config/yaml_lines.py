"""YAML 1.2 files and `--set` values, with the line each key came from."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from sweeper.config.base import UNKNOWN_CHOICE
from sweeper.errors import ConfigError, UsageError, suggest_nearest
from sweeper.storage import write_bytes


def read_yaml(path: Path) -> CommentedMap:
    """The mapping in a YAML 1.2 file, lines kept. Never runs a tag. Raises ConfigError."""
    try:
        document = copy.deepcopy(_parse_yaml(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(str(path), found="no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), found=f"cannot be read: {error}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}", found=f"not valid YAML: {error.problem}") from error
    except (YAMLError, ValueError) as error:
        raise ConfigError(str(path), found=f"not valid YAML: {error}") from error
    if not isinstance(document, CommentedMap):
        raise ConfigError(f"{path}:1", found=f"{type(document).__name__}, not a mapping of keys to values")
    return document


@lru_cache(maxsize=128)  # a union's sweeps name the same pieces; a copy takes a fifth of the time
def _parse_yaml(text: str) -> Any:
    return YAML(typ="rt").load(text)


def read_yaml_as_dict(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file as plain values. Raises ConfigError."""
    return dict(to_builtin(read_yaml(path)))


def write_yaml(path: Path, document: dict[str, Any]) -> None:
    """Write a mapping as YAML, atomically."""
    stream = io.BytesIO()
    YAML(typ="safe", pure=True).dump(document, stream)
    write_bytes(path, stream.getvalue())


def parse_override_value(text: str) -> Any:
    """The value after `--set key=`, read as YAML 1.2."""
    try:
        return YAML(typ="safe", pure=True).load(io.StringIO(text))
    except YAMLError as error:
        raise UsageError("--set", requested=text, found="not a YAML value") from error


def to_builtin(node: Any) -> Any:
    """Ruamel's nodes as plain dicts, lists and scalars."""
    if isinstance(node, dict):
        return {str(k): to_builtin(v) for k, v in node.items()}
    if isinstance(node, list):
        return [to_builtin(v) for v in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def to_commented(node: Any) -> Any:
    """Plain mappings in `node` as ruamel's, so that `--set` reaches into them; what is ruamel's keeps its lines."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        node[key] = to_commented(value)
    return CommentedMap(node) if isinstance(node, dict) and not isinstance(node, CommentedMap) else node


def find_line(node: Any, keys: Iterable[Any]) -> int | None:
    """The 1-based line of the deepest of `keys` below `node`; None where a value was given by `--set`."""
    line: int | None = None
    for key in keys:
        if isinstance(node, CommentedMap) and key in node:
            if key not in node.lc.data if node.lc.data else True:
                return None
            line, node = node.lc.key(key)[0] + 1, node[key]
        elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
            line, node = (node.lc.item(key)[0] + 1 if node.lc.data and key in node.lc.data else line), node[key]
        elif isinstance(node, dict | list) and (key in node if isinstance(node, dict) else True):
            return None
        else:
            break
    return line


def format_location(path: Path, node: Any, keys: list[Any]) -> str:
    """`file:line` of a key of a sweep; a value given by `--set` says so."""
    line = find_line(node, keys)
    if line is None and all(isinstance(key, str) for key in keys[:1]) and keys[0] in node:
        return f"--set (over {path})"
    return f"{path}:{line}" if line else str(path)


def make_config_error(
    error: ValidationError, path: str, node: Any, known: Sequence[str], prefix: Sequence[Any] = ()
) -> ConfigError:
    """The first of pydantic's complaints as one error with file, line and, for an unknown key, the nearest known."""
    first = error.errors(include_url=False)[0]
    keys = [k for k in first["loc"] if not (isinstance(k, str) and k.startswith(("function-", "constrained-")))]
    where = [*prefix, *keys]
    unknown = first["type"] == "extra_forbidden"
    missing = first["type"] == "missing"
    line = find_line(node, where[:-1] if missing else where)
    if line is None and not missing and where and where[0] in (node or {}):
        place = f"--set (over {path})"
    else:
        place = f"{path}:{line or 1}"
    dotted = ".".join(str(k) for k in where) or "the file"
    if unknown:
        return ConfigError(
            place, requested=dotted, found=f"unknown key `{keys[-1]}`", hint=suggest_nearest(str(keys[-1]), known)
        )
    if first["type"] == UNKNOWN_CHOICE:
        given, names = str(first["input"]), first["ctx"]["names"]
        return ConfigError(
            place, requested=f"{dotted}: {given}", found=first["msg"], hint=suggest_nearest(given, names)
        )
    message = first["msg"].removeprefix("Value error, ")
    # Neither on the screen nor in a log.
    given = "" if missing or not keys or "password" in message else f" (given: {first['input']!r})"
    return ConfigError(place, requested=dotted, found=message + given)
