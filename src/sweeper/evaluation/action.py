"""A model's text -> an action. Pure, and nothing in the text is ever executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_ARGUMENT_CHARACTERS = 10_000
"""Longer action inputs are refused unread: model output is untrusted."""
_FINAL_ANSWER = '"final_answer": "'


@dataclass(frozen=True)
class Action:
    """One parsed step. `given` is the action input as written, `arguments` what it says (None where it is no JSON
    object), `beyond` the text that came after it."""

    thought: str
    name: str | None
    raw_input: str
    arguments: dict[str, Any] | None
    extra_text: str = ""

    @property
    def text(self) -> str:
        """The step in the format of the training data, without what came after it."""
        return f"\nThought: {self.thought}\nAction: {self.name or ''}\nAction Input: {self.raw_input}"


def parse_action(text: str) -> Action:
    """Read `Thought: … / Action: … / Action Input: …`; a part that is not there is None (the thought is empty).

    An action ends where the JSON value of its input ends: what a model goes on to write is `beyond` it.
    """
    head, found, tail = text.partition("\nAction:")
    thought = head.partition("Thought:")[2].strip()
    if not found:
        return Action(thought, None, "", None)
    name, found, given = tail.partition("\nAction Input:")
    if not found:
        return Action(thought, name.strip() or None, "", None)
    given = given.strip()
    end = find_json_end(given)
    if end is None:
        return Action(thought, name.strip() or None, given, None)
    given, beyond = given[:end], given[end:].strip()
    value = json.loads(given)
    return Action(thought, name.strip() or None, given, value if isinstance(value, dict) else None, beyond)


def find_json_end(text: str) -> int | None:
    """Where the JSON value that an action input begins with ends; None where it does not end, or is none."""
    if len(text) > MAX_ARGUMENT_CHARACTERS:
        return None
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return None


def is_complete_action(text: str) -> bool:
    """Whether a model's text holds a whole action, so that it need not go on."""
    _, found, given = text.partition("\nAction Input:")
    given = given.strip()
    return bool(found) and given.startswith("{") and find_json_end(given) is not None


def parse_finish_arguments(action: Action) -> dict[str, Any]:
    """What `Finish` was given, read as leniently as ToolBench does: raw line breaks in texts, and a cut last text."""
    if action.arguments is not None:
        return action.arguments
    given = action.raw_input[:MAX_ARGUMENT_CHARACTERS]
    try:
        value = json.loads(given, strict=False)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for kind in ("give_answer", "give_up_and_restart"):
        if f'"return_type": "{kind}"' in given:
            found["return_type"] = kind
    if _FINAL_ANSWER in given:
        found["final_answer"] = given.partition(_FINAL_ANSWER)[2]
    return found
