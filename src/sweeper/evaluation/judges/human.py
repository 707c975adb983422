"""The judge `human`: sheets for people to label, and the labels that they filled in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from sweeper.errors import DataError, MissingPathError, StoreError, UsageError
from sweeper.evaluation.answers import FINISH, Answer, QueryKey
from sweeper.evaluation.judges.base import AnswerStatus, Judge, JudgeContext, Vote
from sweeper.evaluation.toolbench_format import parse_finish
from sweeper.storage import read_json

SHEET_COLUMNS = ("item", "query", "calls", "final_answer", "label", "annotator")
MAX_CELL_CHARACTERS = 32_000
"""Spreadsheets allow 32,767 characters per cell."""

_LABELS: tuple[AnswerStatus, ...] = get_args(AnswerStatus)
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")
_ITEM_LETTERS = "abcdefghijkmnpqrstuvwxyz"


@dataclass(frozen=True)
class LabelKey:
    """The answer behind each item of a label sheet."""

    items: Mapping[str, QueryKey]

    def to_document(self) -> dict[str, dict[str, dict[str, str]]]:
        """Make the JSON document that is written beside the sheet."""
        items = {item: {"subset": subset, "query_id": query_id} for item, (subset, query_id) in self.items.items()}
        return {"items": items}

    @classmethod
    def from_document(cls, document: object) -> LabelKey:
        """Read a key's JSON document. Items without a subset and a query id are left out."""
        items = document.get("items") if isinstance(document, dict) else None
        return cls(
            {
                item: (str(entry["subset"]), str(entry["query_id"]))
                for item, entry in (items if isinstance(items, dict) else {}).items()
                if isinstance(entry, dict) and {"subset", "query_id"} <= set(entry)
            }
        )

    @classmethod
    def read(cls, path: Path) -> LabelKey:
        """Read a key's file.

        Raises:
            MissingPathError: no such file.
            DataError: a file that is not JSON.
        """
        hint = "the .key.json that --label-sheet wrote"
        if not path.is_file():
            raise MissingPathError(f"--key {path}", found="no such file", hint=hint)
        try:
            return cls.from_document(read_json(path))
        except StoreError as error:  # its own hint, to delete the file, would lose the labels
            raise DataError(f"--key {path}", found=error.found, hint=hint) from error


class HumanJudge(Judge):
    """Labels by people.

    Args:
        labels: annotator -> (subset, query id) -> label, None where the annotator left it empty.
    """

    name = "human"

    def __init__(self, labels: Mapping[str, Mapping[QueryKey, AnswerStatus | None]]) -> None:
        self.labels = labels
        rows = sorted([who, *key, label or ""] for who, given in labels.items() for key, label in given.items())
        self.identity = f"human-{hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]}"

    @classmethod
    def from_csv(
        cls, path: Path, *, key: LabelKey | None = None, answers: Sequence[Answer] | None = None
    ) -> HumanJudge:
        """Read labels from a CSV file.

        Args:
            path: a file with the columns `label`, `item` (or `subset` and `query_id`), and optionally `annotator`.
            key: the key of the file's items; required where it has the column `item`.
            answers: if given, labels of any other answer are rejected.

        Raises:
            DataError: labels that cannot be read; the message has file and line.
        """
        return cls(_read_labels(path, key, None if answers is None else {answer.key for answer in answers}))

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """Return one vote per annotator, ordered by name; unscored where the annotator gave no label."""
        return [[self._cast_vote(k, who, answer) for k, who in enumerate(sorted(self.labels))] for answer in answers]

    def list_labelled(self) -> set[QueryKey]:
        """Return the answers with a label by anyone."""
        return {query for given in self.labels.values() for query, label in given.items() if label is not None}

    def _cast_vote(self, index: int, annotator: str, answer: Answer) -> Vote:
        label = self.labels[annotator].get(answer.key)
        done = "not labeled" if label is None else "labeled"
        return Vote(self.name, index, label, f"{done} by {annotator or 'a person'}")


def make_judge(context: JudgeContext) -> HumanJudge:
    """Build the judge of the labels in `context.labels`.

    Raises:
        UsageError: no labels are given.
        DataError: labels that cannot be read or match none of the answers.
    """
    if context.labels is None:
        raise UsageError(
            "judge human", found="no labels", hint="judge ANSWERS --labels CSV; --label-sheet writes one to fill in"
        )
    key = None if context.label_key is None else LabelKey.read(context.label_key)
    return HumanJudge.from_csv(context.labels, key=key, answers=context.answers)


def make_label_sheet(answers: Sequence[Answer], n: int, rng: random.Random) -> tuple[list[list[str]], LabelKey]:
    """Make a blinded label sheet of `n` of the answers.

    Each subset gets its share, at least one. The order is random, and a row shows neither method nor subset nor another
    judge's vote.

    Returns:
        The rows of the CSV file, header first, and the key of its items.

    Raises:
        UsageError: `n` is more than all answers or less than one per subset.
        DataError: two answers to one query.
    """
    by_subset: dict[str, list[Answer]] = {}
    for answer in answers:
        by_subset.setdefault(answer.subset, []).append(answer)
    if len({answer.key for answer in answers}) < len(answers):
        raise DataError("label sheet", found="two answers to one query", hint="give the answers of one method only")
    if not max(len(by_subset), 1) <= n <= len(answers):
        raise UsageError(
            "label sheet",
            requested=f"{n} answers to label",
            found=f"{len(answers)} answers of {len(by_subset)} subsets",
            hint="at least one per subset and at most all",
        )
    shares = _allocate_to_subsets({subset: len(group) for subset, group in by_subset.items()}, n)
    chosen = [answer for subset, group in by_subset.items() for answer in rng.sample(group, shares[subset])]
    rng.shuffle(chosen)
    key: dict[str, QueryKey] = {}
    rows = [list(SHEET_COLUMNS)]
    for answer in chosen:
        item = _draw_item_id(rng)
        while item in key:
            item = _draw_item_id(rng)
        key[item] = answer.key
        final = parse_finish(answer.final_answer)[1] or "(no final answer)"
        rows.append([item, *(_escape_cell(text) for text in (answer.query, _format_calls(answer), final)), "", ""])
    return rows, LabelKey(key)


def _draw_item_id(rng: random.Random) -> str:
    """Draw an id of letters only: spreadsheets read some mixtures with digits as numbers."""
    return "".join(rng.choices(_ITEM_LETTERS, k=8))


def _allocate_to_subsets(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """Allocate one item to each subset, and each further one to the subset furthest below its share."""
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
        f"{k}. {call.name}\narguments: {_truncate_cell(call.arguments, space // 3)}\n"
        f"response: {_truncate_cell(call.response, space)}{' (cut in the source)' if call.cut else ''}"
        for k, call in enumerate(calls, start=1)
    )


def _truncate_cell(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}… ({len(text) - characters} more characters)"


def _escape_cell(text: str) -> str:
    """Make a text safe for a spreadsheet: no formula, no lone surrogates, not too long."""
    text = _truncate_cell(text, MAX_CELL_CHARACTERS).encode("utf-8", "replace").decode().replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text


def _read_labels(
    path: Path, key: LabelKey | None, answer_keys: set[QueryKey] | None
) -> dict[str, dict[QueryKey, AnswerStatus | None]]:
    where = f"labels {path}"
    if not path.is_file():
        raise MissingPathError(where, found="no such file", hint="the CSV that --label-sheet wrote, filled in")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(where, found=f"cannot be read: {error}", hint="save it as CSV in UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # some locales write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    labels: dict[str, dict[QueryKey, AnswerStatus | None]] = {}
    lines: dict[tuple[str, QueryKey], int] = {}
    line = 1
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if "label" not in columns or not ("item" in columns or {"subset", "query_id"} <= set(columns)):
            raise DataError(
                f"{where}:1",
                requested="columns label and item, or label, subset and query_id",
                found=", ".join(columns) or "none",
            )
        if "item" in columns and key is None:
            raise DataError(
                f"{where}:1", found="items without a key", hint="give the key that was written with the sheet"
            )
        line = reader.line_num + 1
        for row in reader:
            place = f"{where}:{line}"
            if any(cell.strip() for cell in row):
                if len(row) > len(columns):
                    raise DataError(place, found=f"{len(row)} cells in {len(columns)} columns")
                cells = dict.fromkeys(columns, "") | dict(zip(columns, row, strict=False))
                query, label, annotator = _parse_label_row(place, cells, key, answer_keys)
                first = lines.setdefault((annotator, query), line)
                if first != line:
                    raise DataError(place, found=f"{_describe_label_row(cells)} is already labeled in line {first}")
                labels.setdefault(annotator, {})[query] = label
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{where}:{line}", found=f"not CSV: {error}") from error
    if not labels:
        raise DataError(where, requested="labels", found="no rows")
    return labels


def _parse_label_row(
    location: str, cells: Mapping[str, str], key: LabelKey | None, answer_keys: set[QueryKey] | None
) -> tuple[QueryKey, AnswerStatus | None, str]:
    if "item" in cells:
        item = cells["item"].strip()
        if key is None or item not in key.items:
            raise DataError(location, requested=f"item {item!r}", found="no such item in the key")
        query = key.items[item]
    else:
        query = cells["subset"].strip(), cells["query_id"].strip()
    if answer_keys is not None and query not in answer_keys:
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
    return query, label, cells.get("annotator", "").strip()


def _describe_label_row(cells: Mapping[str, str]) -> str:
    if "item" in cells:
        return f"item {cells['item'].strip()!r}"
    return f"query {cells['query_id'].strip()} of {cells['subset'].strip()}"
