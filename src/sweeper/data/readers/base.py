"""The interface of data readers, and the source that a reader opens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from sweeper.config import DataSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.file_hashes import hash_files
from sweeper.data.manifest import SourceDescription
from sweeper.data.splits import hash_query
from sweeper.registry import Registry

Split = Literal["train", "validation"]
FractionReporter = Callable[[float], None]
"""Receives the share of the source that was read, 0 to 1."""


class Match(IntEnum):
    """How surely a path has a reader's format. The reader with the highest match opens it."""

    NONE = 0
    """Another format."""
    ANY_JSON = 1
    """JSON files, which other formats also have."""
    NAMES_OR_SHAPE = 2
    """The names of its files, or the first bytes of one, are those of this format."""
    MARKER = 3
    """A file that only this format has, or a hub id."""


@dataclass(frozen=True)
class DataLocation:
    """Where training data should be."""

    path: Path
    """The path, `~` expanded."""
    written: str
    """As the configuration has it; a hub id looks like a path."""


@dataclass(frozen=True)
class SourcePart:
    """A part of a source that belongs to one split."""

    split: Split | None
    """The split; None where the data come without one, and queries are held out."""
    read: Callable[[ReaderCounts, FractionReporter], Iterator[Conversation]]
    """Reads its conversations in order. What is left out is counted."""


@dataclass(frozen=True)
class Source:
    """Opened training data."""

    kind: str
    """Name of the format in manifests; part of the data's identity."""
    location: str
    """Path, hub id, or the settings of a generated world."""
    parts: tuple[SourcePart, ...]
    """What to read, in order."""
    files: tuple[Path, ...] = ()
    """The files whose bytes are the data's identity."""
    left_out: str = ""
    """What of the folder is no part of the data, such as hidden files, in one line."""
    content_identity: str = ""
    """Identity of content that is in no file."""
    license: str = ""
    """What is known of the license; empty: that of ToolBench, and what lies beside the files."""
    has_only_valid_answers: bool = False
    """Whether every query in it has a valid answer, as in a release."""
    is_generated: bool = False
    """Whether it is generated, so that no text in it is anybody's own."""
    hash_cache: Path | None = None
    """File that caches the hashes of files."""
    load_categories: Callable[[], dict[str, str]] | None = None
    """Returns standard tool name -> category of the training data's tools, as far as known. Raises DataError. None:
    `open_source` looks for ToolBench's queries beside the data."""

    def read_conversations(
        self, counts: ReaderCounts, on_progress: FractionReporter = lambda share: None
    ) -> Iterator[tuple[Split | None, Conversation]]:
        """Yield every conversation with its split, in the order of files and rows; count what is left out."""
        counts.files = len(self.files)
        if self.left_out:
            counts.problems.append(f"{self.location}: {self.left_out}")
        seen: set[int] = set()
        queries: set[int] = set()
        for k, part in enumerate(self.parts):
            for conversation in part.read(counts, partial(_report_part, on_progress, k, len(self.parts))):
                counts.conversations += 1
                key = hash(conversation.id)
                counts.duplicate_ids += key in seen
                seen.add(key)
                queries.add(hash_query(conversation.query))
                yield part.split, conversation
            on_progress((k + 1) / len(self.parts))
        if counts.untrained_turns:
            count = f"{counts.untrained_turns:,} earlier turns of assistants"
            counts.problems.append(f"{self.location}: {count} are context only: a row trains its last turn")
        if counts.replaced_characters:
            count = f"{counts.replaced_characters:,} halves of characters"
            counts.problems.append(f"{self.location}: {count} (lone surrogates) replaced by U+FFFD")
        if self.has_only_valid_answers and not counts.valid_queries:
            counts.valid_queries = len(queries)

    def has_own_splits(self) -> bool:
        """Return whether the data come with a validation split of their own."""
        return all(part.split is not None for part in self.parts)

    def compute_sha256(self) -> str:
        """Hash every file's name and bytes, and the content that is in no file."""
        digest = hashlib.sha256(self.kind.encode())
        for file, content in zip(self.files, hash_files(self.files, self.hash_cache), strict=True):
            digest.update(file.name.encode() + b"\0" + content)
        digest.update(self.content_identity.encode())
        return digest.hexdigest()

    def describe(self) -> SourceDescription:
        """Describe what was read, for manifests and `data inspect`."""
        return SourceDescription(
            kind=self.kind, location=self.location, files=len(self.files), sha256=self.compute_sha256()
        )

    def describe_license(self) -> str:
        """Describe what is known of the license of the data."""
        if self.license:
            return self.license
        folders = {file.parent for file in self.files[:1000]}
        near = {p for folder in folders for up in (folder, *folder.parents[:2]) for p in up.glob("LICENSE*")}
        beside = f"; beside the data: {', '.join(sorted(p.name for p in near))}" if near else ""
        return f"ToolBench's data are under the Apache License 2.0; yours may differ{beside}"


def _report_part(on_progress: FractionReporter, index: int, n_parts: int, share: float) -> None:
    on_progress((index + share) / n_parts)


class DataReader(Protocol):
    """One format of training data."""

    def match(self, location: DataLocation) -> Match:
        """Return how surely a location has this format. Opens at most one file."""
        ...

    def open(self, location: DataLocation, spec: DataSpec) -> Source:
        """Open it. Raises DataError, or OSError."""
        ...


READERS: Registry[DataReader] = Registry("data reader", "data/readers", attribute="READER")


class DataFormat(BaseModel):
    """The constant `FORMAT` of a reader's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """`Source.kind` of what it opens."""
    description: str
    """A few words for messages and reports."""


def read_format(reader: str) -> DataFormat:
    """Read the format of a reader without importing its file."""
    return DataFormat.model_validate(READERS.read_literal(reader, "FORMAT"))


def describe_source_kind(kind: str) -> str:
    """Describe the format of a source in a few words; by its kind where no reader has it any longer."""
    formats = map(read_format, READERS.names)
    return next((known.description for known in formats if known.kind == kind), f"{kind} data")
