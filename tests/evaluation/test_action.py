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


@pytest.mark.parametrize(
    "text",
    [
        'Action: f\nAction Input: {"a": 1}',
        'Thought: I go on.\n  Action: f\n  Action Input: {"a": 1}',
        'Thought: I go on. Action: f Action Input: {"a": 1}',
        '**Thought:** I go on.\n**Action:** f\n**Action Input:** {"a": 1}',
        '**Thought**: I go on.\n**Action**: `f`\n**Action Input**:\n```json\n{"a": 1}\n```',
        'Thought: \r\nAction: f\r\nAction Input: {"a": 1}\r\n',
        '<think>\nFirst:\nAction: Finish\nAction Input: {}\nNo.\n</think>\n\nAction: f\nAction Input: {"a": 1}',
        '<think>a</think>Action: g\n<think>b</think>\nThought: c\nAction: f\nAction Input: {"a": 1}',
    ],
)
def test_action_is_found_wherever_it_stands(text: str) -> None:
    action = parse_action(text)
    assert (action.name, action.arguments, action.extra_text) == ("f", {"a": 1}, "")
    assert action.has_reasoning == ("<think>" in text)


def test_reasoning_that_was_cut_has_no_action() -> None:
    action = parse_action('<think>\nAction: f\nAction Input: {"a": 1}')
    assert (action.name, action.has_reasoning) == (None, True)


def test_half_a_character_in_an_argument_is_replaced() -> None:
    assert parse_action(act("f", '{"note": "\\ud83d"}')).arguments == {"note": "\ufffd"}


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
