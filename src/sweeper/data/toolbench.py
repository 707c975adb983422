"""ToolBench training answers -> conversations, by the rules of ToolBench's own preprocessing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.data.conversations import Conversation, Counts, Role, Turn
from sweeper.errors import DataError

_ASKS_FOR_CALL = "with a function call to actually excute your step."
_ASKS_FOR_FORMAT = " Your output should follow this format:\nThought:\nAction\nAction Input:\n"
_ROLES: tuple[Role, ...] = ("system", "user", "assistant", "function")


class _WrongShapeError(ValueError):
    """A document that is not a ToolBench answer; the message says where."""


def answer_files(path: Path) -> list[Path]:
    """The *.json files of a folder (searched to the bottom, sorted), or the one file. Raises DataError."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"data {path}", found="no such file or folder", do="--set data.path=DIR names ToolBench answers"
        )
    files = sorted(path.rglob("*.json"))
    if not files:
        raise DataError(
            f"data {path}", found="no *.json file in it", do="name a folder such as ToolBench's data/answer"
        )
    return files


def read_answers(path: Path, counts: Counts) -> Iterator[Conversation]:
    """All conversations of a folder or file, in the order of names. A bad file is counted and named, not fatal."""
    for file in answer_files(path):
        counts.files += 1
        try:
            document = json.loads(file.read_bytes())
        except json.JSONDecodeError as error:
            _bad_file(counts, f"{file}:{error.lineno}:{error.colno}", f"not JSON: {error.msg}", "not-json")
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            _bad_file(counts, str(file), f"cannot be read: {error}", "unreadable-file")
        else:
            yield from conversations_of(str(file), document, counts)


def conversations_of(name: str, document: Any, counts: Counts) -> list[Conversation]:
    """The conversations of one answer document; what is left out is counted. Pure but for `counts`."""
    try:
        answer = _field(document, "answer_generation", dict, "")
        if not answer.get("valid_data"):
            counts.invalid_queries += 1
            return []
        query = _field(answer, "query", str, "answer_generation")
        functions = tuple(_field(answer, "function", list, "answer_generation"))
        lists = _field(answer, "train_messages", list, "answer_generation")
        found = [_conversation(messages, query, functions, counts, i) for i, messages in enumerate(lists)]
    except _WrongShapeError as error:
        _bad_file(counts, name, str(error), "wrong-shape")
        return []
    counts.valid_queries += 1
    return [conversation for conversation in found if conversation is not None]


def _conversation(
    messages: Any, query: str, functions: tuple[dict[str, Any], ...], counts: Counts, index: int
) -> Conversation | None:
    where = f"answer_generation.train_messages[{index}]"
    if not isinstance(messages, list):
        raise _WrongShapeError(f"{where} is {type(messages).__name__}, not a list")
    turns, thoughts, last = [], "", -1
    for k, message in enumerate(messages):
        role = _field(message, "role", str, f"{where}[{k}]")
        if role not in _ROLES:
            raise _WrongShapeError(f"{where}[{k}].role is {role!r}")
        content = str(message.get("content") or "")
        call = message.get("function_call")
        if role != "assistant":
            turns.append(Turn(role, with_format(content) if role == "system" else content))
        elif call is None:
            thoughts += f"\nThought: {message.get('content')}"
        else:
            name, arguments = (
                str(_field(call, key, str, f"{where}[{k}].function_call")) for key in ("name", "arguments")
            )
            turns.append(
                Turn("assistant", f"{thoughts or chr(10) + 'Thought: '}\nAction: {name}\nAction Input: {arguments}")
            )
            thoughts, last = "", k
    if not turns or turns[-1].role != "assistant" or last != len(messages) - 1:
        counts.dropped["no-function-call-at-the-end"] += 1
        return None
    return Conversation(f"Step {last}: {query}", query, tuple(turns), functions)


def with_format(system: str) -> str:
    """The system message with ToolBench's sentence about the output format put in."""
    return system.replace(_ASKS_FOR_CALL, _ASKS_FOR_CALL + _ASKS_FOR_FORMAT)


def _field(value: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(value, dict):
        raise _WrongShapeError(f"{where or 'the document'} is {type(value).__name__}, not an object")
    if not isinstance(value.get(key), kind):
        raise _WrongShapeError(
            f"{where + '.' if where else ''}{key} is {type(value.get(key)).__name__}, not {kind.__name__}"
        )
    return value[key]


def _bad_file(counts: Counts, place: str, why: str, reason: str) -> None:
    counts.problems.append(f"{place}: {why}")
    counts.dropped[reason] += 1
