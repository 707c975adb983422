"""A model's text -> an action. Pure, and nothing in the text is ever executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_ARGUMENT_CHARACTERS = 10_000
"""Longer action inputs are refused unread: model output is untrusted."""


@dataclass(frozen=True)
class Action:
    """One parsed step. `arguments` is None where the action input is not a JSON object."""

    thought: str
    name: str | None
    arguments: dict[str, Any] | None


def parse_action(text: str) -> Action:
    """Read `Thought: … / Action: … / Action Input: …`; a part that is not there is None (the thought is empty)."""
    head, found, tail = text.partition("\nAction:")
    thought = head.partition("Thought:")[2].strip()
    if not found:
        return Action(thought, None, None)
    name, found, given = tail.partition("\nAction Input:")
    return Action(thought, name.strip() or None, _arguments(given) if found else None)


def _arguments(text: str) -> dict[str, Any] | None:
    if len(text) > MAX_ARGUMENT_CHARACTERS:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
