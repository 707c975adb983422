"""Parsing of a model's text into an action. Pure; nothing in the text is executed."""

from __future__ import annotations

import json
from dataclasses import dataclass

MAX_ARGUMENT_CHARACTERS = 10_000
"""Longer action inputs are rejected without parsing: model output is untrusted."""
_FINAL_ANSWER = '"final_answer": "'


@dataclass(frozen=True)
class Action:
    """One parsed step."""

    thought: str
    name: str | None
    """The called function; None where the text has no action."""
    raw_input: str
    """The action input as written."""
    arguments: dict[str, object] | None
    """The parsed action input; None where it is not a JSON object."""
    extra_text: str = ""
    """Text after the action input."""

    @property
    def text(self) -> str:
        """The step in the format of the training data, without `extra_text`."""
        return f"\nThought: {self.thought}\nAction: {self.name or ''}\nAction Input: {self.raw_input}"


def parse_action(text: str) -> Action:
    r"""Parse `Thought: … / Action: … / Action Input: …`.

    The action ends where the JSON value of its input ends; the rest becomes `extra_text`.

    Example:
        >>> parse_action('\nThought: \nAction: f\nAction Input: {"a": 1} and so on').arguments
        {'a': 1}
    """
    head, separator, tail = text.partition("\nAction:")
    thought = head.partition("Thought:")[2].strip()
    if not separator:
        return Action(thought, None, "", None)
    name, separator, raw_input = tail.partition("\nAction Input:")
    if not separator:
        return Action(thought, name.strip() or None, "", None)
    raw_input = raw_input.strip()
    end = find_json_end(raw_input)
    if end is None:
        return Action(thought, name.strip() or None, raw_input, None)
    raw_input, extra_text = raw_input[:end], raw_input[end:].strip()
    value = json.loads(raw_input)
    return Action(thought, name.strip() or None, raw_input, value if isinstance(value, dict) else None, extra_text)


def find_json_end(text: str) -> int | None:
    """Return where the JSON value at the beginning of `text` ends; None where there is none or it does not end."""
    if len(text) > MAX_ARGUMENT_CHARACTERS:
        return None
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return None


def parse_finish_arguments(action: Action) -> dict[str, object]:
    """Parse the arguments of `Finish` as leniently as ToolBench: with raw line breaks, and with a cut last text."""
    if action.arguments is not None:
        return action.arguments
    raw_input = action.raw_input[:MAX_ARGUMENT_CHARACTERS]
    try:
        value = json.loads(raw_input, strict=False)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    arguments: dict[str, object] = {}
    for kind in ("give_answer", "give_up_and_restart"):
        if f'"return_type": "{kind}"' in raw_input:
            arguments["return_type"] = kind
    if _FINAL_ANSWER in raw_input:
        arguments["final_answer"] = raw_input.partition(_FINAL_ANSWER)[2]
    return arguments
