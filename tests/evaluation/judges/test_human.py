"""Label sheets are blind, stratified and safe to open; labels are read back to the answers they belong to."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from answer_documents import answer, finish, seen
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import DataError, SweeperError, UsageError
from sweeper.evaluation.answer_files import read_answers
from sweeper.evaluation.answers import Answer, ToolCall
from sweeper.evaluation.judges.base import Judge
from sweeper.evaluation.judges.human import HumanJudge, LabelKey, make_label_sheet

SIZES = {"G1_tool": 12, "G2_category": 6, "G3_instruction": 2}
ANSWERS = [answer(subset=s, query_id=f"id{k}", method="secret-model") for s, n in SIZES.items() for k in range(n)]


def write(path: Path, rows: list[list[str]], **options: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def labels(path: Path, *rows: str, header: str = "subset,query_id,label,annotator") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_filled_sheet_becomes_votes(tmp_path: Path) -> None:
    rows, key = make_label_sheet(ANSWERS, 10, random.Random(1))
    key = LabelKey.from_document(json.loads(json.dumps(key.to_document())))
    given_: dict[tuple[str, str], str] = {}
    for k, row in enumerate(rows[1:]):
        row[4:] = [("Solved", "unsolved ", "UNSURE", "")[k % 4], "ann"]
        given_[key.items[row[0]]] = row[4].strip().lower()
    path = write(tmp_path / "labels.csv", rows)
    judge: Judge = HumanJudge.from_csv(path, key=key, answers=ANSWERS)
    votes = judge.judge(ANSWERS)
    assert {a.key: v[0].status or "" for a, v in zip(ANSWERS, votes, strict=True) if a.key in given_} == given_
    unlabelled = [v for a, (v,) in zip(ANSWERS, votes, strict=True) if a.key not in given_]
    assert len(unlabelled) == 10
    assert all((v.status, v.reason) == (None, "not labeled by ann") for v in unlabelled)
    assert judge.name == "human"


def test_label_sheet_is_stratified_and_blinded() -> None:
    rows, key = make_label_sheet(ANSWERS, 10, random.Random(1))
    assert rows[0] == ["item", "query", "calls", "final_answer", "label", "annotator"]
    assert Counter(subset for subset, _ in key.items.values()) == {
        "G1_tool": 6,
        "G2_category": 3,
        "G3_instruction": 1,
    }
    text = "\n".join(cell for row in rows for cell in row)
    assert not any(secret in text for secret in ("secret-model", "G1_tool", "G2_", "G3_", "id0", "id1"))
    assert [row[0] for row in rows[1:]] == list(key.items)
    subsets = [key.items[row[0]][0] for row in rows[1:]]
    assert subsets != sorted(subsets)
    assert all(row[4:] == ["", ""] for row in rows[1:])
    assert rows[1][2] == '1. price_for_shop\narguments: {"item": "lamp"}\nresponse: ' + seen("Blue Lamp: 41.5 EUR")
    assert rows[1][3] == "The Blue Lamp costs 41.50 euros."
    assert make_label_sheet(ANSWERS, 10, random.Random(1)) == (rows, key)
    assert make_label_sheet(ANSWERS, 10, random.Random(2)) != (rows, key)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1), st.data())
def test_label_sheet_shares_are_proportional_with_at_least_one(sizes: dict[str, int], data: st.DataObject) -> None:
    found = [answer(subset=s, query_id=str(k)) for s, n in sizes.items() for k in range(n)]
    n = data.draw(st.integers(len(sizes), len(found)))
    _, key = make_label_sheet(found, n, random.Random(0))
    counts = Counter(subset for subset, _ in key.items.values())
    assert sum(counts.values()) == n
    assert set(counts) == set(sizes)
    for subset, size in sizes.items():
        assert counts[subset] <= max(1, n * size / len(found) + 1)


@pytest.mark.parametrize("n", [0, 2, 21])
def test_label_sheet_rejects_impossible_sizes(n: int) -> None:
    with pytest.raises(UsageError, match="20 answers of 3 subsets"):
        make_label_sheet(ANSWERS, n, random.Random(1))
    with pytest.raises(UsageError):
        make_label_sheet([], n, random.Random(1))


def test_label_sheet_rejects_two_answers_to_one_query() -> None:
    with pytest.raises(DataError, match="two answers"):
        make_label_sheet([*ANSWERS, ANSWERS[0]], 5, random.Random(1))


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"])
def test_label_sheet_cells_are_no_formulas_and_fit(text: str) -> None:
    call = ToolCall("f", "x" * 90_000, "y" * 90_000)
    one = answer(*[call] * 30, query=text, final=finish(text * 20_000))
    (_, row), _ = make_label_sheet([one], 1, random.Random(1))
    assert row[1] == f"'{text}"
    assert row[3].startswith(f"'{text}")
    assert all(len(cell) <= 32_767 for cell in row)
    assert "more characters" in row[2]
    assert "30. f" in row[2]


def test_label_sheet_replaces_unencodable_characters() -> None:
    (_, row), _ = make_label_sheet([answer(query="half \ud83d and \0 nothing")], 1, random.Random(1))
    assert row[1] == "half ? and  nothing"
    assert make_label_sheet([answer(steps=(), final="")], 1, random.Random(1))[0][1][2:4] == [
        "(no calls)",
        "(no final answer)",
    ]


def test_each_annotator_casts_a_vote(tmp_path: Path) -> None:
    path = labels(tmp_path / "l.csv", "G1_tool,id0,solved,zoe", "G1_tool,id0,unsolved,adam", "G1_tool,id1,unsure,zoe")
    votes = HumanJudge.from_csv(path).judge(ANSWERS[:2])
    assert [[(v.index, v.status, v.reason) for v in found] for found in votes] == [
        [(0, "unsolved", "labeled by adam"), (1, "solved", "labeled by zoe")],
        [(0, None, "not labeled by adam"), (1, "unsure", "labeled by zoe")],
    ]


def test_identity_depends_only_on_the_labels(tmp_path: Path) -> None:
    rows = ["G1_tool,id0,solved,a", "G1_tool,id1,,a"]
    first = HumanJudge.from_csv(labels(tmp_path / "1.csv", *rows)).identity
    assert HumanJudge.from_csv(labels(tmp_path / "2.csv", *reversed(rows))).identity == first
    assert HumanJudge.from_csv(labels(tmp_path / "3.csv", rows[0], "G1_tool,id1,unsure,a")).identity != first


def test_from_csv_accepts_other_delimiters_and_headers(tmp_path: Path) -> None:
    rows = [["Label", "Query_ID", "subset", "comment"], ["SOLVED", "id0", "G1_tool", "a\nb"], [], ["", "", "", ""]]
    for delimiter in ",;\t":
        path = write(tmp_path / "l.csv", rows, delimiter=delimiter)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert HumanJudge.from_csv(path).labels == {"": {("G1_tool", "id0"): "solved"}}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["G1_tool,id0,good,a"], r"l.csv:2\n.*'good'(.|\n)*solved, unsolved, unsure"),
        (["G1_tool,id0,solved,a", "", "G1_tool,id99,solved,a"], r"l.csv:4\n.*id99(.|\n)*no such answer"),
        (['G1_tool,id0,solved,"a\nb"', "G1_tool,id1,x,a"], r"l.csv:4\n"),
        (["G1_tool,id0,solved,a", "G1_tool,id0,,a"], r"l.csv:3\n.*labeled in line 2"),
        (["G1_tool,id0,solved,a,b"], r"l.csv:2\n.*5 cells in 4 columns"),
        (['G1_tool,id0,"solved'], r"l.csv:2\n.*not CSV"),
        ([], "no rows"),
    ],
)
def test_from_csv_names_the_line_of_errors(tmp_path: Path, rows: list[str], says: str) -> None:
    path = labels(tmp_path / "l.csv", *rows)
    with pytest.raises(DataError, match=says):
        HumanJudge.from_csv(path, answers=ANSWERS)


def test_from_csv_rejects_unknown_items_and_headers(tmp_path: Path) -> None:
    path = labels(tmp_path / "l.csv", "abc,solved", header="item,label")
    with pytest.raises(DataError, match="without a key"):
        HumanJudge.from_csv(path)
    for document in ({}, {"items": {}}, {"items": {"abc": 7}}, {"items": {"abc": {"subset": "s"}}}):
        key = LabelKey.from_document(document)
        with pytest.raises(DataError, match=r"l.csv:2\n.*'abc'(.|\n)*no such item"):
            HumanJudge.from_csv(path, key=key)
    with pytest.raises(DataError, match=r"l.csv:1\n.*columns"):
        HumanJudge.from_csv(labels(tmp_path / "l.csv", "x", header="item,verdict"), key=LabelKey({}))
    for content in (b"", b"\xff\xfe\x00", b"\0\0\0"):
        path.write_bytes(content)
        with pytest.raises(SweeperError):
            HumanJudge.from_csv(path)
    with pytest.raises(DataError, match="no such file"):
        HumanJudge.from_csv(tmp_path / "missing.csv")


def test_label_sheet_of_real_answers(real_toolbench: Path, tmp_path: Path) -> None:
    found: list[Answer] = read_answers([real_toolbench / "converted_answers" / "gpt-3.5-turbo_CoT"])
    rows, key = make_label_sheet(found, 60, random.Random(3))
    assert Counter(subset for subset, _ in key.items.values()) == {"G1_instruction": 30, "G3_instruction": 30}
    for row in rows[1:]:
        row[4] = "unsure"
    judge = HumanJudge.from_csv(write(tmp_path / "l.csv", rows), key=key, answers=found)
    assert Counter(v.status for (v,) in judge.judge(found)) == {"unsure": 60, None: 140}
