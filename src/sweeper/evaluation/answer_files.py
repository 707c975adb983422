"""Answer files of any known form -> answers; which form a file has is seen, not told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeper.data.schema_checks import SchemaMismatchError, require_field, require_items
from sweeper.errors import DataError, MissingPathError
from sweeper.evaluation.answers import Answer, ToolCall
from sweeper.evaluation.toolbench_format import MAX_MESSAGE_CHARACTERS, parse_converted_answer, parse_raw_answer

MAX_FILE_BYTES = 2_000_000_000
"""A larger file is refused unread: JSON of this size no longer fits in memory."""

_KNOWN_FORMATS = "ToolEval's converted answers, ToolBench's raw answers, or our answers.jsonl"


def read_answers(paths: Sequence[Path]) -> list[Answer]:
    """The answers of files and folders, in their order. Raises DataError naming file and place.

    A converted file's subset is its name, a raw file's the folder it lies in. Of a folder the files are read, only
    `answers.jsonl` where it has one; of a folder of folders the files of the first level that has any, at most the
    second below (`raw/<model>/<subset>/`).
    """
    found: dict[tuple[str, str], Answer] = {}
    places: dict[tuple[str, str], Path] = {}
    for path in paths:
        for file in _list_answer_files(path):
            for answer in _read_answer_file(file):
                if answer.key in found:
                    raise DataError(
                        f"answers {file}",
                        found=f"a second answer to query {answer.query_id} of {answer.subset}; the first is in "
                        f"{places[answer.key]}",
                        hint="give one answer a query: one method at a time",
                    )
                found[answer.key], places[answer.key] = answer, file
    if not found:
        raise DataError(f"answers {', '.join(map(str, paths))}", requested=_KNOWN_FORMATS, found="no answers")
    return list(found.values())


def format_answer_line(answer: Answer) -> str:
    """One line of `answers.jsonl`, without its end."""
    steps = [step if isinstance(step, str) else vars(step) for step in answer.steps]
    return json.dumps({**vars(answer), "steps": steps})  # ASCII: a text may hold halves of characters


def parse_answer_line(text: str) -> Answer:
    """The answer of one line of `answers.jsonl`. Raises WrongShapeError."""
    try:
        return _parse_own_answer(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise SchemaMismatchError(f"not JSON: {error}") from error


def _parse_own_answer(document: Any) -> Answer:
    query_id, subset, query, final, method, ended = (
        _check_text_length(require_field(document, key, str, ""), key)
        for key in ("query_id", "subset", "query", "final_answer", "method", "ended")
    )
    steps: list[str | ToolCall] = []
    for k, step in enumerate(require_field(document, "steps", list, "")):
        where = f"steps[{k}]"
        if isinstance(step, str):
            steps.append(_check_text_length(step, where))
            continue
        name, arguments, response = (
            _check_text_length(require_field(step, key, str, where), f"{where}.{key}")
            for key in ("name", "arguments", "response")
        )
        steps.append(ToolCall(name, arguments, response, cut=require_field(step, "cut", bool, where)))
    functions = require_items(document, "functions", dict, "")
    for k, function in enumerate(functions):
        require_field(function, "name", str, f"functions[{k}]")
    return Answer(query_id, subset, query, tuple(functions), tuple(steps), final, method, ended)


def _check_text_length(text: str, where: str) -> str:
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise SchemaMismatchError(f"{where} has {len(text):,} characters, over {MAX_MESSAGE_CHARACTERS:,}")
    return text


def _list_answer_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingPathError(f"answers {path}", requested=_KNOWN_FORMATS, found="no such file or folder")
    if (path / "answers.jsonl").is_file():
        return [path / "answers.jsonl"]
    for pattern in ("*.json", "*/*.json", "*/*/*.json"):
        if files := [file for file in sorted(path.glob(pattern)) if not file.name.startswith(".")]:
            return files
    raise DataError(f"answers {path}", requested=_KNOWN_FORMATS, found="a folder without *.json or answers.jsonl")


def _read_answer_file(file: Path) -> Iterator[Answer]:
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(f"answers {file}", found=f"{size:,} bytes, over {MAX_FILE_BYTES:,}", hint="split it by subset")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"answers {file}", found=f"cannot be read: {error}") from error
    first, _, rest = text.partition("\n")
    if rest.strip():
        try:
            lines = _is_own_format(json.loads(first))
        except (ValueError, RecursionError):
            lines = False
    else:
        lines = _is_own_format(document := _parse_json(file, text))
        if not lines:
            yield from _parse_toolbench_document(file, document)
    if lines:
        # Not splitlines: JSON texts may hold other characters that it takes for ends of lines.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                with _locate_shape_errors(f"answers {file}:{number}"):
                    yield _parse_own_answer(_parse_json(file, line, number))
    elif rest.strip():
        yield from _parse_toolbench_document(file, _parse_json(file, text))


def _parse_toolbench_document(file: Path, document: Any) -> Iterator[Answer]:
    if isinstance(document, dict) and "answer_generation" in document:
        with _locate_shape_errors(f"answers {file}"):
            yield parse_raw_answer(file.stem.split("_")[0], file.resolve().parent.name, document)
        return
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise DataError(f"answers {file}", requested=_KNOWN_FORMATS, found="JSON of another shape")
    for query_id, value in document.items():
        with _locate_shape_errors(f"answers {file}", f"query {query_id}"):
            yield parse_converted_answer(query_id, file.stem, value)


@contextmanager
def _locate_shape_errors(where: str, requested: str = "") -> Iterator[None]:
    """Says in which file, and where in it, a shape was wrong."""
    try:
        yield
    except SchemaMismatchError as error:
        raise DataError(where, requested=requested, found=str(error)) from error


def _is_own_format(document: Any) -> bool:
    return isinstance(document, dict) and "query_id" in document and "steps" in document


def _parse_json(file: Path, text: str, line: int = 1) -> Any:
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
