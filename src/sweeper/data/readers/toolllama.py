"""ToolLLaMA's released training files -> conversations. Lists of gigabytes are streamed: memory stays bounded."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

from sweeper.config import DataSpec
from sweeper.data.api_formats.toolbench import API_MARKER
from sweeper.data.conversations import ApiList, Conversation, ReaderCounts, Turn
from sweeper.data.readers.base import DataLocation, FractionReporter, Match, Source, SourcePart, Split
from sweeper.data.schema_checks import (
    SchemaMismatchError,
    check_turn_order,
    count_invalid_arguments,
    require_field,
    require_items,
    require_role,
)
from sweeper.storage import JsonTextError, NestingLimit
from sweeper.storage.untrusted_files import WIDE_ENCODINGS

_RELEASE_PATTERNS: dict[Split, str] = {"train": "toolllama*_train.json", "validation": "toolllama*_eval.json"}
_STEP_PREFIX = re.compile(r"Step (\d+): ", re.ASCII)

FORMAT = {"kind": "toolllama", "description": "ToolLLaMA's released data"}


class ToolllamaReader:
    """Reader of ToolLLaMA's release: one file, or the folder of its train and eval files."""

    def match(self, location: DataLocation) -> Match:
        """Return NAMES_OR_SHAPE for a JSON list, or a folder with files of the released names."""
        if location.path.is_file():
            return Match.NAMES_OR_SHAPE if _read_first_byte(location.path) == b"[" else Match.NONE
        return Match.NAMES_OR_SHAPE if _find_released_files(location.path) else Match.NONE

    def open(self, location: DataLocation, spec: DataSpec) -> Source:
        """Open it. With both train and eval files the data have their own validation split."""
        path = location.path
        if path.is_file():
            released: list[tuple[Split, Path]] = [("train", path)]
        else:
            released = _find_released_files(path)
        folder = path if path.is_file() else released[0][1].parent
        has_own_splits = len({split for split, _ in released}) == len(_RELEASE_PATTERNS)
        parts = tuple(
            SourcePart(split if has_own_splits else None, partial(read_toolllama, file)) for split, file in released
        )
        files = tuple(file for _, file in released)
        return Source(FORMAT["kind"], str(folder), parts, files, has_only_valid_answers=True)


READER = ToolllamaReader()


def _find_released_files(folder: Path) -> list[tuple[Split, Path]]:
    """Return (split, file) of the release in a folder, or else in its subfolder `answer/`."""
    for place in (folder, folder / "answer"):
        released = [
            (split, file)
            for split, name in _RELEASE_PATTERNS.items()
            for file in sorted(place.glob(name))
            if file.is_file()  # a pipe would be waited for
        ]
        if released:
            return released
    return []


def _read_first_byte(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]


def read_toolllama(
    file: Path, counts: ReaderCounts, on_progress: FractionReporter = lambda share: None
) -> Iterator[Conversation]:
    """Yield the conversations of a list `[{"id", "conversations": [{"from", "value"}]}]`.

    A damaged file yields what precedes the damage, which is counted and named with its position.
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
            except (ijson.JSONError, ValueError, RecursionError) as error:  # also of a number with too many digits
                why = " ".join(str(error).split())[:200]
                place = f"{file}[{number}], at or before byte {counted.bytes_read:,} of {size:,}"
                counts.record_drop("damaged-file", place, f"not JSON from here on: {why}; {number} examples precede it")
            else:
                if number == 0:
                    counts.record_drop("wrong-shape", str(file), "not a list of examples, or an empty one")
    except OSError as error:
        counts.record_drop("unreadable-file", str(file), f"cannot be read: {error}")


def parse_toolllama_example(location: str, row: object, counts: ReaderCounts) -> Conversation | None:
    """Return the conversation of one released example; None, and a count, where it is left out."""
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
    if step:
        query = name[step.end() :]
    else:
        # Other programs number their rows. Rows of one question must not fall into both splits.
        query = next((turn.content for turn in turns if turn.role == "user"), name).strip()
        earlier = sum(turn.role == "assistant" for turn in turns[:-1])
        counts.untrained_turns += earlier
    return Conversation(name, query, tuple(turns), _parse_api_list(listed))


@lru_cache(maxsize=64)  # the examples of one answer share their API list
def _parse_api_list(text: str) -> ApiList:
    return ApiList(text=text) if text else ApiList([])


class _CountingStream:
    """A stream that counts the bytes read from it, since the parser's errors have no position, and limits nesting."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.bytes_read, self._nesting = stream, 0, NestingLimit()

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(size)
        if self.bytes_read == 0:
            for mark, name in WIDE_ENCODINGS.items():
                if block.startswith(mark):
                    raise JsonTextError(f"{name} text; save it as UTF-8")
            if block.startswith(codecs.BOM_UTF8):
                block = b" " * len(codecs.BOM_UTF8) + block[len(codecs.BOM_UTF8) :]
        self._nesting.check(block)
        self.bytes_read += len(block)
        return block
