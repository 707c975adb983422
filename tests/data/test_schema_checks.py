"""Untrusted documents are refused with the place of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sweeper.data.conversations import ReaderCounts, Role
from sweeper.data.schema_checks import (
    SchemaMismatchError,
    check_turn_order,
    count_invalid_arguments,
    require_field,
    require_items,
    require_role,
)


def test_require_field_returns_a_value_of_the_right_type() -> None:
    assert require_field({"a": "x"}, "a", str, "") == "x"


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        ([], "", "the document is list, not an object"),
        ([], "row[3]", r"row\[3\] is list"),
        ({"a": 1}, "", "a is int, not str"),
        ({}, "row", r"row\.a is NoneType, not str"),
    ],
)
def test_require_field_names_the_place(value: object, where: str, message: str) -> None:
    with pytest.raises(SchemaMismatchError, match=message):
        require_field(value, "a", str, where)


def test_require_items_checks_every_item() -> None:
    assert require_items({"a": [{}, {}]}, "a", dict, "row") == [{}, {}]
    with pytest.raises(SchemaMismatchError, match=r"row\.a\[1\] is str, not dict"):
        require_items({"a": [{}, "x"]}, "a", dict, "row")


def test_require_role_refuses_an_unknown_role() -> None:
    assert [require_role(role, "x") for role in ("system", "user", "assistant", "function")]
    with pytest.raises(SchemaMismatchError, match="here is 'wizard'"):
        require_role("wizard", "here")


@pytest.mark.parametrize(
    "roles",
    [
        ["system", "user", "assistant"],
        ["system", "user", "assistant", "function", "assistant"],
        ["system", "user", "assistant", "user", "assistant"],
    ],
)
def test_check_turn_order_accepts_a_conversation(roles: Sequence[Role]) -> None:
    check_turn_order(roles, "c")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ([], "c starts with"),
        (["user", "system"], "c starts with user, system"),
        (["system", "user", "function"], "before any call, at 2"),
        (["system", "user", "assistant", "system"], "second system turn, at 3"),
    ],
)
def test_check_turn_order_names_the_turn(roles: Any, message: str) -> None:
    with pytest.raises(SchemaMismatchError, match=message):
        check_turn_order(roles, "c")


def test_count_invalid_arguments_counts_what_is_not_json() -> None:
    counts = ReaderCounts()
    for arguments in ("{}", '{"a": 1}', "{'a': 1}", "", "[" * 100_000):
        count_invalid_arguments(arguments, counts)
    assert counts.arguments_not_json == 3
