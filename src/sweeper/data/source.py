"""Where conversations come from: the generated world or ToolBench answers on disk, split into train and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweeper.data.conversations import Conversation, Counts
from sweeper.data.toolbench import answer_files, conversations_of, read_answers
from sweeper.errors import DataError
from sweeper.spec import DataSpec

Split = dict[str, list[Conversation]]


def content_hash(spec: DataSpec) -> str:
    """SHA-256 of the source: every file's name and bytes, or the world's settings and version. Raises DataError."""
    digest = hashlib.sha256()
    if spec.source == "toolworld":
        from sweeper import toolworld

        digest.update(repr((toolworld.WORLD_VERSION, sorted(asdict(world_config(spec)).items()))).encode())
        return digest.hexdigest()
    root = _path(spec)
    for file in answer_files(root):
        digest.update(str(file.relative_to(root) if root.is_dir() else file.name).encode() + b"\0")
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise DataError(f"data {file}", found=f"cannot be read: {error}") from error
    return digest.hexdigest()


def read_split(spec: DataSpec, counts: Counts) -> Split:
    """Conversations by split. Raises DataError where one of the splits is empty, with what was wrong."""
    split = _toolworld(spec, counts) if spec.source == "toolworld" else _toolbench(spec, counts)
    for name, conversations in split.items():
        if not conversations:
            why = "; ".join(counts.problems[:5]) or f"{counts.invalid_queries} queries marked invalid"
            raise DataError(
                f"data {spec.path or spec.name}",
                asked=f"a {name} split",
                found=f"no usable example in {counts.files} files: {why}",
                do="more answers, or another data.validation_fraction"
                if name == "validation"
                else "see the files named",
            )
    return split


def world_config(spec: DataSpec) -> Any:
    """The generated world's settings. Raises UsageError for an unknown or wrong one."""
    from sweeper import toolworld

    return toolworld.WorldConfig.from_mapping(spec.toolworld)


def _path(spec: DataSpec) -> Path:
    if spec.path is None:
        raise DataError(
            f"data {spec.name}", found="no path", do="--set data.path=DIR names a folder of ToolBench answers"
        )
    return Path(spec.path).expanduser()


def _toolworld(spec: DataSpec, counts: Counts) -> Split:
    from sweeper import toolworld

    world = toolworld.build_world(world_config(spec))
    return {
        name: [c for file, doc in toolworld.training_answers(world, name) for c in conversations_of(file, doc, counts)]
        for name in ("train", "validation")
    }


def _toolbench(spec: DataSpec, counts: Counts) -> Split:
    """Held-out queries are those whose hash comes first: at least one, and none in both splits."""
    conversations = list(read_answers(_path(spec), counts))
    queries = sorted({c.query for c in conversations}, key=_hash)
    held_out = set(queries[: max(1, round(spec.validation_fraction * len(queries)))])
    return {
        "train": _where(conversations, lambda c: c.query not in held_out),
        "validation": _where(conversations, lambda c: c.query in held_out),
    }


def _where(conversations: Iterable[Conversation], keep: Any) -> list[Conversation]:
    return [conversation for conversation in conversations if keep(conversation)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
