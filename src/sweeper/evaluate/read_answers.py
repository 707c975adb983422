"""Answer files of any known form -> answers; which form a file has is seen, not told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeper.data.shapes import WrongShapeError, field, items
from sweeper.errors import DataError, MissingPathError
from sweeper.evaluate.answers import Answer, ToolCall
from sweeper.evaluate.toolbench_answers import MESSAGE_CHARACTERS, from_converted, from_raw

FILE_BYTES = 2_000_000_000
"""A larger file is refused unread: JSON of this size no longer fits in memory."""

_FORMS = "ToolEval's converted answers, ToolBench's raw answers, or our answers.jsonl"


def read_answers(paths: Sequence[Path]) -> list[Answer]:
    """The answers of files and folders, in their order. Raises DataError naming file and place.

    A converted file's subset is its name, a raw file's the folder it lies in. Of a folder the files are read, only
    `answers.jsonl` where it has one; of a folder of folders the files of the first level that has any, at most the
    second below (`raw/<model>/<subset>/`).
    """
    found: dict[tuple[str, str], Answer] = {}
    places: dict[tuple[str, str], Path] = {}
    for path in paths:
        for file in _files(path):
            for answer in _read(file):
                if answer.key in found:
                    raise DataError(
                        f"answers {file}",
                        found=f"a second answer to query {answer.query_id} of {answer.subset}; the first is in "
                        f"{places[answer.key]}",
                        do="give one answer a query: one method at a time",
                    )
                found[answer.key], places[answer.key] = answer, file
    if not found:
        raise DataError(f"answers {', '.join(map(str, paths))}", asked=_FORMS, found="no answers")
    return list(found.values())


def to_line(answer: Answer) -> str:
    """One line of `answers.jsonl`, without its end."""
    steps = [step if isinstance(step, str) else vars(step) for step in answer.steps]
    return json.dumps({**vars(answer), "steps": steps})  # ASCII: a text may hold halves of characters


def from_line(text: str) -> Answer:
    """The answer of one line of `answers.jsonl`. Raises WrongShapeError."""
    try:
        return _ours(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise WrongShapeError(f"not JSON: {error}") from error


def _ours(document: Any) -> Answer:
    query_id, subset, query, final, method, ended = (
        _short(field(document, key, str, ""), key)
        for key in ("query_id", "subset", "query", "final_answer", "method", "ended")
    )
    steps: list[str | ToolCall] = []
    for k, step in enumerate(field(document, "steps", list, "")):
        where = f"steps[{k}]"
        if isinstance(step, str):
            steps.append(_short(step, where))
            continue
        name, arguments, response = (
            _short(field(step, key, str, where), f"{where}.{key}") for key in ("name", "arguments", "response")
        )
        steps.append(ToolCall(name, arguments, response, cut=field(step, "cut", bool, where)))
    functions = items(document, "functions", dict, "")
    for k, function in enumerate(functions):
        field(function, "name", str, f"functions[{k}]")
    return Answer(query_id, subset, query, tuple(functions), tuple(steps), final, method, ended)


def _short(text: str, where: str) -> str:
    if len(text) > MESSAGE_CHARACTERS:
        raise WrongShapeError(f"{where} has {len(text):,} characters, over {MESSAGE_CHARACTERS:,}")
    return text


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingPathError(f"answers {path}", asked=_FORMS, found="no such file or folder")
    if (path / "answers.jsonl").is_file():
        return [path / "answers.jsonl"]
    for pattern in ("*.json", "*/*.json", "*/*/*.json"):
        if files := [file for file in sorted(path.glob(pattern)) if not file.name.startswith(".")]:
            return files
    raise DataError(f"answers {path}", asked=_FORMS, found="a folder without *.json or answers.jsonl")


def _read(file: Path) -> Iterator[Answer]:
    size = file.stat().st_size
    if size > FILE_BYTES:
        raise DataError(f"answers {file}", found=f"{size:,} bytes, over {FILE_BYTES:,}", do="split it by subset")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"answers {file}", found=f"cannot be read: {error}") from error
    first, _, rest = text.partition("\n")
    if rest.strip():
        try:
            lines = _is_ours(json.loads(first))
        except (ValueError, RecursionError):
            lines = False
    else:
        lines = _is_ours(document := _load(file, text))
        if not lines:
            yield from _of_document(file, document)
    if lines:
        # Not splitlines: JSON texts may hold other characters that it takes for ends of lines.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                with _named(f"answers {file}:{number}"):
                    yield _ours(_load(file, line, number))
    elif rest.strip():
        yield from _of_document(file, _load(file, text))


def _of_document(file: Path, document: Any) -> Iterator[Answer]:
    if isinstance(document, dict) and "answer_generation" in document:
        with _named(f"answers {file}"):
            yield from_raw(file.stem.split("_")[0], file.resolve().parent.name, document)
        return
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise DataError(f"answers {file}", asked=_FORMS, found="JSON of another shape")
    for query_id, value in document.items():
        with _named(f"answers {file}", f"query {query_id}"):
            yield from_converted(query_id, file.stem, value)


@contextmanager
def _named(who: str, asked: str = "") -> Iterator[None]:
    """Says in which file, and where in it, a shape was wrong."""
    try:
        yield
    except WrongShapeError as error:
        raise DataError(who, asked=asked, found=str(error)) from error


def _is_ours(document: Any) -> bool:
    return isinstance(document, dict) and "query_id" in document and "steps" in document


def _load(file: Path, text: str, line: int = 1) -> Any:
    """JSON of a whole file, or of its `line`. Halves of characters, which no file can be written with, are replaced."""
    try:
        document = json.loads(text)
        if "\\ud" in text.lower():
            whole = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
            document = json.loads(whole)
    except json.JSONDecodeError as error:
        place = f"{file}:{line + error.lineno - 1}:{error.colno}"
        raise DataError(f"answers {place}", found=f"not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"answers {file}", found=f"cannot be read: {error}") from error
    return document
