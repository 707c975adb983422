"""Judgements of people: what is given to them to label, and how their labels are read back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from sweeper.errors import DataError, MissingPathError, UsageError
from sweeper.evaluation.answers import FINISH, Answer
from sweeper.evaluation.judges.base import AnswerStatus, Vote
from sweeper.evaluation.toolbench_format import parse_finish

QueryKey = tuple[str, str]

SHEET_COLUMNS = ("item", "query", "calls", "final_answer", "label", "annotator")
MAX_CELL_CHARACTERS = 32_000
"""Spreadsheets hold 32,767 characters a cell."""

_LABELS: tuple[AnswerStatus, ...] = get_args(AnswerStatus)
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")
_ITEM_LETTERS = "abcdefghijkmnpqrstuvwxyz"


class HumanJudge:
    """Labels by people. `labels`: annotator -> (subset, query_id) -> label, None where the annotator left it empty."""

    name = "human"

    def __init__(self, labels: Mapping[str, Mapping[QueryKey, AnswerStatus | None]]) -> None:
        self.labels = labels
        rows = sorted([who, *key, label or ""] for who, given in labels.items() for key, label in given.items())
        self.identity = f"human-{hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]}"

    @classmethod
    def from_csv(
        cls, path: Path, *, key: Mapping[str, Any] | None = None, answers: Sequence[Answer] | None = None
    ) -> HumanJudge:
        """Labels from a CSV file with `label`, `item` (or `subset` and `query_id`), and perhaps `annotator`.

        `key` is the document that `label_sheet` gave with the sheet; items need it. Where `answers` are given, labels
        of anything else are refused. Raises DataError naming file and line.
        """
        return cls(_read_labels(path, key, None if answers is None else {answer.key for answer in answers}))

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """One vote an annotator, in the order of their names; unscored where the annotator gave no label."""
        votes = []
        for answer in answers:
            given = [(who, self.labels[who].get(answer.key)) for who in sorted(self.labels)]
            votes.append(
                [
                    Vote(
                        self.name, k, label, f"{'not labelled' if label is None else 'labelled'} by {who or 'a person'}"
                    )
                    for k, (who, label) in enumerate(given)
                ]
            )
        return votes


def make_label_sheet(answers: Sequence[Answer], n: int, rng: random.Random) -> tuple[list[list[str]], dict[str, Any]]:
    """(rows of a CSV file, its header first; the key: which item is which answer) for `n` of the answers.

    Each subset has its share, at least one. The order is random, and a row tells neither method nor subset nor what
    another judge said. Raises UsageError where `n` cannot be had, DataError where an answer comes twice.
    """
    by_subset: dict[str, list[Answer]] = {}
    for answer in answers:
        by_subset.setdefault(answer.subset, []).append(answer)
    if len({answer.key for answer in answers}) < len(answers):
        raise DataError("label sheet", found="two answers to one query", hint="give the answers of one method")
    if not max(len(by_subset), 1) <= n <= len(answers):
        raise UsageError(
            "label sheet",
            requested=f"{n} answers to label",
            found=f"{len(answers)} answers of {len(by_subset)} subsets",
            hint="ask for at least one a subset and at most all",
        )
    shares = _allocate_to_subsets({subset: len(group) for subset, group in by_subset.items()}, n)
    chosen = [answer for subset, group in by_subset.items() for answer in rng.sample(group, shares[subset])]
    rng.shuffle(chosen)
    key: dict[str, dict[str, str]] = {}
    rows = [list(SHEET_COLUMNS)]
    for answer in chosen:
        item = _draw_item_id(rng)
        while item in key:
            item = _draw_item_id(rng)
        key[item] = {"subset": answer.subset, "query_id": answer.query_id}
        final = parse_finish(answer.final_answer)[1] or "(no final answer)"
        rows.append([item, *(_escape_cell(text) for text in (answer.query, _format_calls(answer), final)), "", ""])
    return rows, {"items": key}


def _draw_item_id(rng: random.Random) -> str:
    """Letters only: spreadsheets take some mixtures with digits for numbers."""
    return "".join(rng.choices(_ITEM_LETTERS, k=8))


def _allocate_to_subsets(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """One each, and each further one to the subset that is furthest below its share."""
    total = sum(sizes.values())
    shares = dict.fromkeys(sizes, 1)
    for _ in range(n - len(shares)):
        open_ = [subset for subset in sizes if shares[subset] < sizes[subset]]
        shares[max(open_, key=lambda subset: n * sizes[subset] / total - shares[subset])] += 1
    return shares


def _format_calls(answer: Answer) -> str:
    calls = [call for call in answer.calls if call.name != FINISH]
    if not calls:
        return "(no calls)"
    space = MAX_CELL_CHARACTERS // (2 * len(calls))
    return "\n\n".join(
        f"{k}. {call.name}\nasked: {_truncate_cell(call.arguments, space // 3)}\n"
        f"got: {_truncate_cell(call.response, space)}{' (cut in the source)' if call.cut else ''}"
        for k, call in enumerate(calls, start=1)
    )


def _truncate_cell(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}… ({len(text) - characters} more characters)"


def _escape_cell(text: str) -> str:
    """Safe to open in a spreadsheet: no formula, no half characters, not too long."""
    text = _truncate_cell(text, MAX_CELL_CHARACTERS).encode("utf-8", "replace").decode().replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text


def _read_labels(
    path: Path, key: Mapping[str, Any] | None, answer_keys: set[QueryKey] | None
) -> dict[str, dict[QueryKey, AnswerStatus | None]]:
    who = f"labels {path}"
    if not path.is_file():
        raise MissingPathError(who, found="no such file", hint="the CSV that --label-sheet wrote, filled in")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(who, found=f"cannot be read: {error}", hint="save it as CSV in UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets of some languages write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    labels: dict[str, dict[QueryKey, AnswerStatus | None]] = {}
    lines: dict[tuple[str, QueryKey], int] = {}
    line = 1
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if "label" not in columns or not ("item" in columns or {"subset", "query_id"} <= set(columns)):
            raise DataError(
                f"{who}:1",
                requested="columns label and item, or label, subset and query_id",
                found=", ".join(columns) or "none",
            )
        if "item" in columns and key is None:
            raise DataError(f"{who}:1", found="items, and no key to them", hint="give the key written with the sheet")
        line = reader.line_num + 1
        for row in reader:
            place = f"{who}:{line}"
            if any(cell.strip() for cell in row):
                if len(row) > len(columns):
                    raise DataError(place, found=f"{len(row)} cells in {len(columns)} columns")
                cells = dict.fromkeys(columns, "") | dict(zip(columns, row, strict=False))
                asked, label, annotator = _parse_label_row(place, cells, key, answer_keys)
                first = lines.setdefault((annotator, asked), line)
                if first != line:
                    raise DataError(place, found=f"{_describe_label_row(cells)} is labelled in line {first} already")
                labels.setdefault(annotator, {})[asked] = label
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{who}:{line}", found=f"not CSV: {error}") from error
    if not labels:
        raise DataError(who, requested="labels", found="no rows")
    return labels


def _parse_label_row(
    location: str, cells: Mapping[str, str], key: Mapping[str, Any] | None, answer_keys: set[QueryKey] | None
) -> tuple[QueryKey, AnswerStatus | None, str]:
    if "item" in cells:
        item = cells["item"].strip()
        entry = ((key or {}).get("items") or {}).get(item)
        if not isinstance(entry, dict) or not {"subset", "query_id"} <= set(entry):
            raise DataError(location, requested=f"item {item!r}", found="no such item in the key")
        asked = str(entry["subset"]), str(entry["query_id"])
    else:
        asked = cells["subset"].strip(), cells["query_id"].strip()
    if answer_keys is not None and asked not in answer_keys:
        raise DataError(location, requested=_describe_label_row(cells), found="no such answer")
    text = cells["label"].strip().lower()
    label = next((label for label in _LABELS if label == text), None)
    if text and label is None:
        raise DataError(
            location,
            requested=f"label {cells['label'][:40]!r} of {_describe_label_row(cells)}",
            found="not one of " + ", ".join(_LABELS),
            hint="leave it empty where it cannot be judged",
        )
    return asked, label, cells.get("annotator", "").strip()


def _describe_label_row(cells: Mapping[str, str]) -> str:
    if "item" in cells:
        return f"item {cells['item'].strip()!r}"
    return f"query {cells['query_id'].strip()} of {cells['subset'].strip()}"
