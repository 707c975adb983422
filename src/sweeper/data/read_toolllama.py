"""ToolLLaMA's released training files -> conversations. A list of gigabyte size is streamed: memory stays bounded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweeper.data.conversations import ApiList, Conversation, Counts, Turn
from sweeper.data.render import API_MARKER
from sweeper.data.shapes import WrongShapeError, check_order, count_arguments, field, items, known_role

_STEP = re.compile(r"Step (\d+): ", re.ASCII)


def read_toolllama(
    file: Path, counts: Counts, tell: Callable[[float], None] = lambda share: None
) -> Iterator[Conversation]:
    """The conversations of a list `[{"id", "conversations": [{"from", "value"}]}]`.

    A file that is damaged somewhere gives what stands before; the damage is counted and named with its position.
    """
    import ijson

    number = 0
    try:
        with file.open("rb") as stream:
            counted, size = _Counted(stream), file.stat().st_size
            try:
                for number, row in enumerate(ijson.items(counted, "item", use_float=True), 1):
                    conversation = conversation_of(f"{file}[{number - 1}]", row, counts)
                    if conversation is not None:
                        yield conversation
                    if number % 200 == 0:
                        tell(counted.read_bytes / size)
            except (ijson.JSONError, UnicodeDecodeError) as error:
                why = " ".join(str(error).split())[:200]
                place = f"{file}[{number}], at or before byte {counted.read_bytes:,} of {size:,}"
                counts.drop("damaged-file", place, f"not JSON from here on: {why}; {number} examples stand before it")
            else:
                if number == 0:
                    counts.drop("wrong-shape", str(file), "not a list of examples, or an empty one")
    except OSError as error:
        counts.drop("unreadable-file", str(file), f"cannot be read: {error}")


def conversation_of(place: str, row: Any, counts: Counts) -> Conversation | None:
    """One released example; None where it is left out, which is counted."""
    try:
        name = str(field(row, "id", str, ""))
        turns = []
        for k, message in enumerate(items(row, "conversations", dict, "")):
            role = known_role(field(message, "from", str, f"conversations[{k}]"), f"conversations[{k}].from")
            turns.append(Turn(role, str(field(message, "value", str, f"conversations[{k}]"))))
        check_order([turn.role for turn in turns], "conversations")
    except WrongShapeError as error:
        counts.drop("wrong-shape", place, str(error))
        return None
    if turns[-1].role != "assistant":
        counts.drop("no-target", place, f"ends with {turns[-1].role}, not with an assistant's turn to learn")
        return None
    count_arguments(turns[-1].content.partition("\nAction Input: ")[2], counts)
    system, _, listed = turns[0].content.partition(API_MARKER)
    turns[0] = Turn("system", system)
    step = _STEP.match(name)
    query = name[step.end() :] if step else name
    return Conversation(name, query, tuple(turns), _apis(listed))


@lru_cache(maxsize=64)  # the examples of one answer share their list
def _apis(text: str) -> ApiList:
    return ApiList(text=text) if text else ApiList([])


class _Counted:
    """A stream that knows how much was read from it: the parser's errors do not say where they are."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.read_bytes = stream, 0

    def read(self, size: int = -1) -> bytes:
        block: bytes = self.stream.read(size)
        self.read_bytes += len(block)
        return block
