"""ToolBench training answers -> conversations, by the rules of ToolBench's own preprocessing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.data.conversations import ApiList, Conversation, Counts, Role, Turn
from sweeper.data.shapes import WrongShapeError, check_order, count_arguments, field, items, known_role

_ASKS_FOR_CALL = "with a function call to actually excute your step."
_ASKS_FOR_FORMAT = " Your output should follow this format:\nThought:\nAction\nAction Input:\n"


def read_answers(file: Path, counts: Counts) -> Iterator[Conversation]:
    """The conversations of one answer file. A bad file is counted and named, not fatal."""
    try:
        document = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        counts.drop("not-json", f"{file}:{error.lineno}:{error.colno}", f"not JSON: {error.msg}")
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        counts.drop("unreadable-file", str(file), f"cannot be read: {error}")
    else:
        yield from conversations_of(str(file), document, counts)


def conversations_of(place: str, document: Any, counts: Counts) -> list[Conversation]:
    """The conversations of one answer document; what is left out is counted. Pure but for `counts`."""
    try:
        answer = field(document, "answer_generation", dict, "")
        if not answer.get("valid_data"):
            counts.invalid_queries += 1
            return []
        query = field(answer, "query", str, "answer_generation")
        apis = ApiList(items(answer, "function", dict, "answer_generation"))
        lists = items(answer, "train_messages", list, "answer_generation")
        found = [_conversation(messages, query, apis, counts, place, i) for i, messages in enumerate(lists)]
    except WrongShapeError as error:
        counts.drop("wrong-shape", place, str(error))
        return []
    counts.valid_queries += 1
    return [conversation for conversation in found if conversation is not None]


def _conversation(
    messages: Any, query: str, apis: ApiList, counts: Counts, place: str, index: int
) -> Conversation | None:
    where = f"answer_generation.train_messages[{index}]"
    turns, thoughts, last, arguments = [], "", -1, ""
    for k, message in enumerate(messages):
        role: Role = known_role(field(message, "role", str, f"{where}[{k}]"), f"{where}[{k}].role")
        content = str(message.get("content") or "")
        call = message.get("function_call")
        if role != "assistant":
            turns.append(Turn(role, with_format(content) if role == "system" else content))
        elif call is None:
            thoughts += f"\nThought: {message.get('content')}"
        else:
            name, arguments = (
                str(field(call, key, str, f"{where}[{k}].function_call")) for key in ("name", "arguments")
            )
            turns.append(
                Turn("assistant", f"{thoughts or chr(10) + 'Thought: '}\nAction: {name}\nAction Input: {arguments}")
            )
            thoughts, last = "", k
    if not turns or last != len(messages) - 1:
        counts.dropped["no-target"] += 1
        return None
    check_order([turn.role for turn in turns], where)
    count_arguments(arguments, counts)
    return Conversation(f"Step {last}: {query}", query, tuple(turns), apis)


def with_format(system: str) -> str:
    """The system message with ToolBench's sentence about the output format put in."""
    return system.replace(_ASKS_FOR_CALL, _ASKS_FOR_CALL + _ASKS_FOR_FORMAT)
