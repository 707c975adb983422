"""Parsing of a model's text into an action. Pure; nothing in the text is executed."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass

from sweeper.storage import parse_json

MAX_ARGUMENT_CHARACTERS = 10_000
"""Longer action inputs are rejected without parsing: model output is untrusted."""
_REASONING_START, _REASONING_END = "<think>", "</think>"
_ACTION_LINE = re.compile(r"(?:\A|\n)[ \t]*\**Action\**[ \t]*:\**")
_ACTION_ANYWHERE = re.compile(r"\bAction\**[ \t]*:\**")
_INPUT = re.compile(r"\**Action Input\**[ \t]*:\**")
_THOUGHT = re.compile(r"\**Thought\**[ \t]*:\**")
_FENCE_START = re.compile(r"\A```[a-zA-Z]*\s*")
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
    has_reasoning: bool = False
    """Whether the text has a block of reasoning, in which nothing is an action."""

    @property
    def text(self) -> str:
        """The step in the format of the training data, without `extra_text`."""
        return f"\nThought: {self.thought}\nAction: {self.name or ''}\nAction Input: {self.raw_input}"


def parse_action(text: str) -> Action:
    r"""Parse `Thought: … / Action: … / Action Input: …`.

    As in ToolBench's own parser, the action may stand anywhere: it need not follow a thought or begin a line, and a
    line that begins with it has precedence. Bold markers, and a code fence around the input, are left out. What stands
    before the last `</think>` is reasoning. The action ends where the JSON value of its input ends; the rest becomes
    `extra_text`.

    Example:
        >>> parse_action('\nThought: \nAction: f\nAction Input: {"a": 1} and so on').arguments
        {'a': 1}
    """
    answer = remove_reasoning(text)
    has_reasoning = answer != text
    marker = _ACTION_LINE.search(answer) or _ACTION_ANYWHERE.search(answer)
    head, tail = (answer[: marker.start()], answer[marker.end() :]) if marker else (answer, "")
    thought_marker = _THOUGHT.search(head)
    thought = head[thought_marker.end() :].strip() if thought_marker else ""
    input_marker = _INPUT.search(tail)
    name = (tail[: input_marker.start()] if input_marker else tail).strip(" \t\r\n*`") or None
    if input_marker is None:
        return Action(thought, name, "", None, has_reasoning=has_reasoning)
    raw_input = _FENCE_START.sub("", tail[input_marker.end() :].strip())
    end = find_json_end(raw_input)
    if end is None:
        return Action(thought, name, raw_input, None, has_reasoning=has_reasoning)
    raw_input, extra_text = raw_input[:end], raw_input[end:].strip("` \t\r\n")
    value: object = parse_json(raw_input).value
    return Action(thought, name, raw_input, value if isinstance(value, dict) else None, extra_text, has_reasoning)


def remove_reasoning(text: str) -> str:
    """Remove a model's block of reasoning: all before the last `</think>`, and a block that was cut.

    Example:
        >>> remove_reasoning("<think>It may be f.</think>Action: g")
        'Action: g'
    """
    if _REASONING_END in text:
        return text.rpartition(_REASONING_END)[2]
    return "" if text.lstrip().startswith(_REASONING_START) else text


def find_json_end(text: str) -> int | None:
    """Return where the JSON value at the beginning of `text` ends; None where there is none or it does not end."""
    if len(text) > MAX_ARGUMENT_CHARACTERS:
        return None
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):  # of a number with too many digits as well
        return None


def parse_finish_arguments(action: Action) -> dict[str, object]:
    """Parse the arguments of `Finish` as leniently as ToolBench: with raw line breaks, and with a cut last text."""
    if action.arguments is not None:
        return action.arguments
    raw_input = action.raw_input[:MAX_ARGUMENT_CHARACTERS]
    value: object = None
    with suppress(ValueError, RecursionError):  # then it is read as text below
        value = parse_json(json.dumps(json.loads(raw_input, strict=False))).value
    if isinstance(value, dict):
        return value
    arguments: dict[str, object] = {}
    for kind in ("give_answer", "give_up_and_restart"):
        if f'"return_type": "{kind}"' in raw_input:
            arguments["return_type"] = kind
    if _FINAL_ANSWER in raw_input:
        arguments["final_answer"] = raw_input.partition(_FINAL_ANSWER)[2]
    return arguments
