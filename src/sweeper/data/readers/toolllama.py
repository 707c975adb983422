"""ToolLLaMA's released training files -> conversations. A list of gigabyte size is streamed: memory stays bounded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweeper.data.conversations import ApiList, Conversation, ReaderCounts, Turn
from sweeper.data.prompt_format import API_MARKER
from sweeper.data.schema_checks import (
    SchemaMismatchError,
    check_turn_order,
    count_invalid_arguments,
    require_field,
    require_items,
    require_role,
)

_STEP_PREFIX = re.compile(r"Step (\d+): ", re.ASCII)


def read_toolllama(
    file: Path, counts: ReaderCounts, on_progress: Callable[[float], None] = lambda share: None
) -> Iterator[Conversation]:
    """The conversations of a list `[{"id", "conversations": [{"from", "value"}]}]`.

    A file that is damaged somewhere gives what stands before; the damage is counted and named with its position.
    """
    import ijson

    number = 0
    try:
        with file.open("rb") as stream:
            counted, size = _CountingStream(stream), file.stat().st_size
            try:
                for number, row in enumerate(ijson.items(counted, "item", use_float=True), 1):
                    conversation = parse_toolllama_example(f"{file}[{number - 1}]", row, counts)
                    if conversation is not None:
                        yield conversation
                    if number % 200 == 0:
                        on_progress(counted.bytes_read / size)
            except (ijson.JSONError, UnicodeDecodeError) as error:
                why = " ".join(str(error).split())[:200]
                place = f"{file}[{number}], at or before byte {counted.bytes_read:,} of {size:,}"
                counts.record_drop(
                    "damaged-file", place, f"not JSON from here on: {why}; {number} examples stand before it"
                )
            else:
                if number == 0:
                    counts.record_drop("wrong-shape", str(file), "not a list of examples, or an empty one")
    except OSError as error:
        counts.record_drop("unreadable-file", str(file), f"cannot be read: {error}")


def parse_toolllama_example(location: str, row: Any, counts: ReaderCounts) -> Conversation | None:
    """One released example; None where it is left out, which is counted."""
    try:
        name = str(require_field(row, "id", str, ""))
        turns = []
        for k, message in enumerate(require_items(row, "conversations", dict, "")):
            role = require_role(require_field(message, "from", str, f"conversations[{k}]"), f"conversations[{k}].from")
            turns.append(Turn(role, str(require_field(message, "value", str, f"conversations[{k}]"))))
        check_turn_order([turn.role for turn in turns], "conversations")
    except SchemaMismatchError as error:
        counts.record_drop("wrong-shape", location, str(error))
        return None
    if turns[-1].role != "assistant":
        counts.record_drop("no-target", location, f"ends with {turns[-1].role}, not with an assistant's turn to learn")
        return None
    count_invalid_arguments(turns[-1].content.partition("\nAction Input: ")[2], counts)
    system, _, listed = turns[0].content.partition(API_MARKER)
    turns[0] = Turn("system", system)
    step = _STEP_PREFIX.match(name)
    query = name[step.end() :] if step else name
    return Conversation(name, query, tuple(turns), _parse_api_list(listed))


@lru_cache(maxsize=64)  # the examples of one answer share their list
def _parse_api_list(text: str) -> ApiList:
    return ApiList(text=text) if text else ApiList([])


class _CountingStream:
    """A stream that knows how much was read from it: the parser's errors do not say where they are."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.bytes_read = stream, 0

    def read(self, size: int = -1) -> bytes:
        block: bytes = self.stream.read(size)
        self.bytes_read += len(block)
        return block
