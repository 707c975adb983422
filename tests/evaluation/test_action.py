"""Parsing of a model's text into an action."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.evaluation.action import parse_action, parse_finish_arguments


def act(name: str, arguments: str) -> str:
    return f"\nThought: \nAction: {name}\nAction Input: {arguments}"


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ('\nThought: hm\nAction: f\nAction Input: {"a": 1}', "f", {"a": 1}),
        ("\nThought: \nAction: f\nAction Input: {}", "f", {}),
        ("\nThought: \nAction: f\nAction Input: [1]", "f", None),
        ("\nThought: \nAction: f\nAction Input: __import__('os')", "f", None),
        ("\nThought: \nAction: f\nAction Input: {'a': 1}", "f", None),
        ("\nThought: \nAction: f", "f", None),
        ("\nThought: \nAction: \nAction Input: {}", None, {}),
        ("no format at all", None, None),
        ("", None, None),
        ("\nThought: \nAction: f\nAction Input: " + "[" * 5000, "f", None),
        ("\nThought: \nAction: f\nAction Input: " + '{"a": "' + "x" * 20_000 + '"}', "f", None),
    ],
)
def test_parse_action(text: str, name: str | None, arguments: dict[str, Any] | None) -> None:
    action = parse_action(text)
    assert (action.name, action.arguments) == (name, arguments)


def test_parse_action_separates_extra_text() -> None:
    step = '\nThought: \nAction: f\nAction Input: {"a": 1}'
    action = parse_action(step + "\nThought: more\nAction: g\nAction Input: {}")
    assert (action.name, action.arguments, action.text) == ("f", {"a": 1}, step)
    assert action.extra_text.startswith("Thought: more")
    assert parse_action(step).extra_text == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            '{"return_type": "give_answer", "final_answer": "a\nb"}',
            {"return_type": "give_answer", "final_answer": "a\nb"},
        ),
        ('{"return_type": "give_answer", "final_answer": "cut', {"return_type": "give_answer", "final_answer": "cut"}),
        ('{"return_type": "give_up_and_restart", "x', {"return_type": "give_up_and_restart"}),
        ("__import__('os')", {}),
        ("[" * 5000, {}),
    ],
)
def test_parse_finish_arguments_is_lenient(given: str, expected: dict[str, Any]) -> None:
    assert parse_finish_arguments(parse_action(act("Finish", given))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(act("f", '{"a": 1}'), True), (act("f", '{"a": 1'), False), (act("f", "[1]"), False), ("no action", False)],
)
def test_parse_action_requires_a_complete_json_object(text: str, expected: bool) -> None:
    assert (parse_action(text).arguments is not None) is expected
