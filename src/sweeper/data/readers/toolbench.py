"""ToolBench training answers -> conversations, by the rules of ToolBench's own preprocessing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.data.conversations import ApiList, Conversation, ReaderCounts, Role, Turn
from sweeper.data.schema_checks import (
    SchemaMismatchError,
    check_turn_order,
    count_invalid_arguments,
    require_field,
    require_items,
    require_role,
)

_CALL_INSTRUCTION = "with a function call to actually excute your step."
_FORMAT_INSTRUCTION = " Your output should follow this format:\nThought:\nAction\nAction Input:\n"


def read_toolbench_answers(file: Path, counts: ReaderCounts) -> Iterator[Conversation]:
    """The conversations of one answer file. A bad file is counted and named, not fatal."""
    try:
        document = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        counts.record_drop("not-json", f"{file}:{error.lineno}:{error.colno}", f"not JSON: {error.msg}")
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        counts.record_drop("unreadable-file", str(file), f"cannot be read: {error}")
    else:
        yield from parse_toolbench_answer(str(file), document, counts)


def parse_toolbench_answer(location: str, document: Any, counts: ReaderCounts) -> list[Conversation]:
    """The conversations of one answer document; what is left out is counted. Pure but for `counts`."""
    try:
        answer = require_field(document, "answer_generation", dict, "")
        if not answer.get("valid_data"):
            counts.invalid_queries += 1
            return []
        query = require_field(answer, "query", str, "answer_generation")
        apis = ApiList(require_items(answer, "function", dict, "answer_generation"))
        lists = require_items(answer, "train_messages", list, "answer_generation")
        found = [_parse_conversation(messages, query, apis, counts, location, i) for i, messages in enumerate(lists)]
    except SchemaMismatchError as error:
        counts.record_drop("wrong-shape", location, str(error))
        return []
    counts.valid_queries += 1
    return [conversation for conversation in found if conversation is not None]


def _parse_conversation(
    messages: Any, query: str, apis: ApiList, counts: ReaderCounts, location: str, index: int
) -> Conversation | None:
    where = f"answer_generation.train_messages[{index}]"
    turns, thoughts, last, arguments = [], "", -1, ""
    for k, message in enumerate(messages):
        role: Role = require_role(require_field(message, "role", str, f"{where}[{k}]"), f"{where}[{k}].role")
        content = str(message.get("content") or "")
        call = message.get("function_call")
        if role != "assistant":
            turns.append(Turn(role, add_format_instruction(content) if role == "system" else content))
        elif call is None:
            thoughts += f"\nThought: {message.get('content')}"
        else:
            name, arguments = (
                str(require_field(call, key, str, f"{where}[{k}].function_call")) for key in ("name", "arguments")
            )
            turns.append(
                Turn("assistant", f"{thoughts or chr(10) + 'Thought: '}\nAction: {name}\nAction Input: {arguments}")
            )
            thoughts, last = "", k
    if not turns or last != len(messages) - 1:
        counts.drop_counts["no-target"] += 1
        return None
    check_turn_order([turn.role for turn in turns], where)
    count_invalid_arguments(arguments, counts)
    return Conversation(f"Step {last}: {query}", query, tuple(turns), apis)


def add_format_instruction(system: str) -> str:
    """The system message with ToolBench's sentence about the output format put in."""
    return system.replace(_CALL_INSTRUCTION, _CALL_INSTRUCTION + _FORMAT_INSTRUCTION)
