"""What readers check of untrusted documents: fields, roles, their order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from sweeper.data.conversations import ReaderCounts, Role

_ROLES: tuple[Role, ...] = get_args(Role)


class SchemaMismatchError(ValueError):
    """A document that is not what its reader expects; the message says where."""


def require_field(value: Any, key: str, kind: type, where: str) -> Any:
    """`value[key]`, of type `kind`. Raises WrongShapeError."""
    if not isinstance(value, dict):
        raise SchemaMismatchError(f"{where or 'the document'} is {type(value).__name__}, not an object")
    if not isinstance(value.get(key), kind):
        raise SchemaMismatchError(
            f"{where + '.' if where else ''}{key} is {type(value.get(key)).__name__}, not {kind.__name__}"
        )
    return value[key]


def require_items(value: Any, key: str, kind: type, where: str) -> list[Any]:
    """`value[key]`, a list whose items are of type `kind`. Raises WrongShapeError."""
    found: list[Any] = require_field(value, key, list, where)
    for i, item in enumerate(found):
        if not isinstance(item, kind):
            raise SchemaMismatchError(f"{where}.{key}[{i}] is {type(item).__name__}, not {kind.__name__}")
    return found


def require_role(role: str, where: str) -> Role:
    """The role, if it is one. Raises WrongShapeError."""
    if role not in _ROLES:
        raise SchemaMismatchError(f"{where} is {role!r}")
    return role


def check_turn_order(roles: Sequence[Role], where: str) -> None:
    """A conversation opens with system and user, and a function answers after an assistant asked.

    Later user turns are real: ToolBench's search asks for another try with one. Raises WrongShapeError.
    """
    if tuple(roles[:2]) != ("system", "user"):
        raise SchemaMismatchError(f"{where} opens with {', '.join(roles[:2])}, not with system, user")
    for k, role in enumerate(roles):
        if role == "system" and k > 0:
            raise SchemaMismatchError(f"{where} has a second system turn, at {k}")
        if role == "function" and "assistant" not in roles[:k]:
            raise SchemaMismatchError(f"{where} has a function's answer before any call, at {k}")


def count_invalid_arguments(arguments: str, counts: ReaderCounts) -> None:
    """Real targets hold arguments that are not JSON; ToolBench trains on them, and so do we: counted, kept."""
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        counts.arguments_not_json += 1
