"""Checks of untrusted documents: fields, roles and the order of turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar, get_args

from sweeper.data.conversations import ReaderCounts, Role

T = TypeVar("T")
_ROLES: tuple[Role, ...] = get_args(Role)


class SchemaMismatchError(ValueError):
    """A document that is not what its reader expects; the message names the place."""


def require_field(value: object, key: str, kind: type[T], where: str) -> T:
    """Return `value[key]`, of type `kind`. Raises SchemaMismatchError."""
    if not isinstance(value, dict):
        raise SchemaMismatchError(f"{where or 'the document'} is {type(value).__name__}, not an object")
    if not isinstance(value.get(key), kind):
        raise SchemaMismatchError(
            f"{where + '.' if where else ''}{key} is {type(value.get(key)).__name__}, not {kind.__name__}"
        )
    item: T = value[key]
    return item


def require_items(value: object, key: str, kind: type[T], where: str) -> list[T]:
    """Return `value[key]`, a list whose items are of type `kind`. Raises SchemaMismatchError."""
    items: list[T] = require_field(value, key, list, where)
    for i, item in enumerate(items):
        if not isinstance(item, kind):
            raise SchemaMismatchError(f"{where}.{key}[{i}] is {type(item).__name__}, not {kind.__name__}")
    return items


def require_role(role: str, where: str) -> Role:
    """Return the role, if it is one. Raises SchemaMismatchError."""
    for known in _ROLES:
        if role == known:
            return known
    raise SchemaMismatchError(f"{where} is {role!r}")


def check_turn_order(roles: Sequence[Role], where: str) -> None:
    """Check that a conversation starts with system and user, and that function turns follow an assistant's.

    Later user turns are valid: ToolBench's tree search requests another attempt with one. Raises SchemaMismatchError.
    """
    if tuple(roles[:2]) != ("system", "user"):
        raise SchemaMismatchError(f"{where} starts with {', '.join(roles[:2])}, not with system, user")
    for k, role in enumerate(roles):
        if role == "system" and k > 0:
            raise SchemaMismatchError(f"{where} has a second system turn, at {k}")
        if role == "function" and "assistant" not in roles[:k]:
            raise SchemaMismatchError(f"{where} has a function turn before any call, at {k}")


def count_invalid_arguments(arguments: str, counts: ReaderCounts) -> None:
    """Count arguments that are not JSON. Real targets have some; ToolBench trains on them, and so do we."""
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        counts.arguments_not_json += 1
