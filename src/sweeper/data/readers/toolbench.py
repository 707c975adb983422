"""ToolBench's training answers -> conversations, by the rules of ToolBench's own preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sweeper.config import DataSpec
from sweeper.data.conversations import ApiList, Conversation, ReaderCounts, ReaderDropReason, Role, Turn
from sweeper.data.readers.base import DataLocation, FractionReporter, Match, Source, SourcePart
from sweeper.data.schema_checks import (
    SchemaMismatchError,
    check_turn_order,
    count_invalid_arguments,
    require_field,
    require_items,
    require_role,
)
from sweeper.errors import DataError
from sweeper.storage import FoundFiles, JsonTextError, list_files, parse_json

_CALL_INSTRUCTION = "with a function call to actually excute your step."
_FORMAT_INSTRUCTION = " Your output should follow this format:\nThought:\nAction\nAction Input:\n"

FORMAT = {"kind": "answers", "description": "ToolBench answers"}


class ToolbenchReader:
    """Reader of answer files, one JSON document each: a file, or all of a folder and its subfolders."""

    def match(self, location: DataLocation) -> Match:
        """Return ANY_JSON for a file, or a folder with JSON files."""
        path = location.path
        return Match.ANY_JSON if path.is_file() or list_files(path, "*.json").files else Match.NONE

    def open(self, location: DataLocation, spec: DataSpec) -> Source:
        """Open the answers of a file or folder; of ToolBench's data folder, those of `answer/`."""
        path = location.path
        if (path / "answer").is_dir():
            path = path / "answer"
        found = FoundFiles((path,)) if path.is_file() else list_files(path, "*.json")
        if not found.files:
            raise DataError(
                f"data {path}", found="no *.json file in it", hint="a folder such as ToolBench's data/answer"
            )
        parts = tuple(SourcePart(None, partial(_read_part, file)) for file in found.files)
        return Source(FORMAT["kind"], str(path), parts, found.files, left_out=found.describe_left_out())


READER = ToolbenchReader()


def _read_part(file: Path, counts: ReaderCounts, on_progress: FractionReporter) -> Iterator[Conversation]:
    return read_toolbench_answers(file, counts)


def read_toolbench_answers(file: Path, counts: ReaderCounts) -> Iterator[Conversation]:
    """Yield the conversations of one answer file. A bad file is counted and named, not fatal."""
    try:
        parsed = parse_json(file.read_bytes())
    except JsonTextError as error:
        reason: ReaderDropReason = "unreadable-file" if error.line is None else "not-json"
        counts.record_drop(reason, f"{file}{error.place}", str(error))
    except OSError as error:
        counts.record_drop("unreadable-file", str(file), f"cannot be read: {error}")
    else:
        counts.replaced_characters += parsed.n_replaced
        yield from parse_toolbench_answer(str(file), parsed.value, counts)


def parse_toolbench_answer(location: str, document: object, counts: ReaderCounts) -> list[Conversation]:
    """Return the conversations of one answer document; count what is left out. Pure except for `counts`."""
    try:
        answer = require_field(document, "answer_generation", dict, "")
        if not answer.get("valid_data"):
            counts.invalid_queries += 1
            return []
        query = require_field(answer, "query", str, "answer_generation")
        apis = ApiList(require_items(answer, "function", dict, "answer_generation"))
        lists = require_items(answer, "train_messages", list, "answer_generation")
        parsed = [_parse_conversation(messages, query, apis, counts, i) for i, messages in enumerate(lists)]
    except SchemaMismatchError as error:
        counts.record_drop("wrong-shape", location, str(error))
        return []
    counts.valid_queries += 1
    return [conversation for conversation in parsed if conversation is not None]


def _parse_conversation(
    messages: Sequence[Any], query: str, apis: ApiList, counts: ReaderCounts, index: int
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
    """Insert ToolBench's sentence about the output format into a system message.

    Args:
        system: a system message of ToolBench.

    Returns:
        The message with the sentence.

    Example:
        >>> add_format_instruction("You are a helpful assistant.")
        'You are a helpful assistant.'
    """
    return system.replace(_CALL_INSTRUCTION, _CALL_INSTRUCTION + _FORMAT_INSTRUCTION)
