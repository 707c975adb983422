"""Reading of answer files. The format of a file is detected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sweeper.data.schema_checks import SchemaMismatchError, require_field, require_items
from sweeper.errors import DataError, MissingPathError
from sweeper.evaluation.answers import Answer, FunctionSchema, QueryKey, ToolCall
from sweeper.evaluation.tool_messages import check_text_length
from sweeper.evaluation.toolbench_format import parse_converted_answer, parse_raw_answer
from sweeper.storage import JsonTextError, decode_text, parse_json
from sweeper.storage.untrusted_files import is_hidden

MAX_FILE_BYTES = 2_000_000_000
MAX_STEPS = 400
"""Steps of one answer: ToolEval's format nests each one in the last, and JSON cannot be nested much deeper."""
"""Larger files are rejected: JSON of this size does not fit in memory."""

_KNOWN_FORMATS = "ToolEval's converted answers, ToolBench's raw answers, or our answers.jsonl"


def read_answers(paths: Sequence[Path]) -> list[Answer]:
    """Read the answers of files and folders, in their order.

    The subset of a converted file is its name; of a raw file, its folder. Of a folder with `answers.jsonl`, only that
    file is read. Otherwise its `*.json` files are read, or else those of the first level below that has any, down to
    the second (`raw/<model>/<subset>/`).

    Raises:
        MissingPathError: a path that does not exist.
        DataError: anything that cannot be read, with file and place, and a second answer to one query.
    """
    answers: dict[QueryKey, Answer] = {}
    places: dict[QueryKey, Path] = {}
    for path in paths:
        for file in _list_answer_files(path):
            for answer in _read_answer_file(file):
                if answer.key in answers:
                    raise DataError(
                        f"answers {file}",
                        found=f"a second answer to query {answer.query_id} of {answer.subset}; the first is in "
                        f"{places[answer.key]}",
                        hint="give one answer per query: one method at a time",
                    )
                answers[answer.key], places[answer.key] = answer, file
    if not answers:
        raise DataError(f"answers {', '.join(map(str, paths))}", requested=_KNOWN_FORMATS, found="no answers")
    return list(answers.values())


def format_answer_line(answer: Answer) -> str:
    """Format one line of `answers.jsonl`, without the line break."""
    steps = [step if isinstance(step, str) else vars(step) for step in answer.steps]
    return json.dumps({**vars(answer), "steps": steps})  # ASCII: a text may contain lone surrogates


def parse_answer_line(text: str) -> Answer:
    """Parse one line of `answers.jsonl`. Raises SchemaMismatchError."""
    try:
        return _parse_own_answer(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise SchemaMismatchError(f"not JSON: {error}") from error


def _parse_own_answer(document: object) -> Answer:
    query_id, subset, query, final, method, ended = (
        check_text_length(require_field(document, key, str, ""), key)
        for key in ("query_id", "subset", "query", "final_answer", "method", "ended")
    )
    steps: list[str | ToolCall] = []
    stated = require_field(document, "steps", list, "")
    if len(stated) > MAX_STEPS:
        raise SchemaMismatchError(f"{len(stated):,} steps, more than {MAX_STEPS}")
    for k, step in enumerate(stated):
        where = f"steps[{k}]"
        if isinstance(step, str):
            steps.append(check_text_length(step, where))
            continue
        name, arguments, response = (
            check_text_length(require_field(step, key, str, where), f"{where}.{key}")
            for key in ("name", "arguments", "response")
        )
        steps.append(ToolCall(name, arguments, response, cut=require_field(step, "cut", bool, where)))
    functions = require_items(document, "functions", dict, "")
    for k, function in enumerate(functions):
        require_field(function, "name", str, f"functions[{k}]")
    return Answer(
        query_id,
        subset,
        query,
        cast("tuple[FunctionSchema, ...]", tuple(functions)),
        tuple(steps),
        final,
        method,
        ended,
    )


def _list_answer_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingPathError(f"answers {path}", requested=_KNOWN_FORMATS, found="no such file or folder")
    if (path / "answers.jsonl").is_file():
        return [path / "answers.jsonl"]
    for pattern in ("*.json", "*/*.json", "*/*/*.json"):
        files = [file for file in sorted(path.glob(pattern)) if not is_hidden(file.relative_to(path))]
        if files := [file for file in files if file.is_file()]:
            return files
    raise DataError(f"answers {path}", requested=_KNOWN_FORMATS, found="a folder without *.json or answers.jsonl")


def _read_answer_file(file: Path) -> Iterator[Answer]:
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(f"answers {file}", found=f"{size:,} bytes, over {MAX_FILE_BYTES:,}", hint="split it by subset")
    try:
        text = decode_text(file.read_bytes())
    except (OSError, JsonTextError) as error:
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
        # Not splitlines: it also splits at characters that JSON texts may contain.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                with _locate_shape_errors(f"answers {file}:{number}"):
                    yield _parse_own_answer(_parse_json(file, line, number))
    elif rest.strip():
        yield from _parse_toolbench_document(file, _parse_json(file, text))


def _parse_toolbench_document(file: Path, document: object) -> Iterator[Answer]:
    if isinstance(document, dict) and "answer_generation" in document:
        with _locate_shape_errors(f"answers {file}"):
            yield parse_raw_answer(file.stem.split("_")[0], file.resolve().parent.name, document)
        return
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise DataError(f"answers {file}", requested=_KNOWN_FORMATS, found="JSON of another structure")
    for query_id, value in document.items():
        with _locate_shape_errors(f"answers {file}", f"query {query_id}"):
            yield parse_converted_answer(query_id, file.stem, value)


@contextmanager
def _locate_shape_errors(where: str, requested: str = "") -> Iterator[None]:
    """Convert a SchemaMismatchError into a DataError with the file and the place in it."""
    try:
        yield
    except SchemaMismatchError as error:
        raise DataError(where, requested=requested, found=str(error)) from error


def _is_own_format(document: object) -> bool:
    return isinstance(document, dict) and "query_id" in document and "steps" in document


def _parse_json(file: Path, text: str, line: int = 1) -> object:
    """Parse the JSON of a whole file, or of its line `line`. Lone surrogates are replaced: UTF-8 cannot write them."""
    try:
        return parse_json(text, unique_keys=True).value
    except JsonTextError as error:
        place = "" if error.line is None else f":{line + error.line - 1}:{error.column}"
        hint = "give one answer per query: one method at a time" if "occurs twice" in str(error) else ""
        raise DataError(f"answers {file}{place}", found=str(error), hint=hint) from error
