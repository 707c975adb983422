"""Answer files: detection of the format, and errors with their place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from answer_documents import answer, answers
from hypothesis import given

from sweeper.data.schema_checks import SchemaMismatchError
from sweeper.errors import DataError
from sweeper.evaluation.answer_files import MAX_FILE_BYTES, format_answer_line, parse_answer_line, read_answers
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.toolbench_format import make_converted_document, make_raw_document


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def some(subset: str, *ids: str) -> list[Answer]:
    return [answer(subset=subset, query_id=i) for i in ids]


def converted(path: Path, *found: Answer) -> Path:
    return write(path, {one.query_id: make_converted_document(one) for one in found})


def test_read_answers_reads_every_real_format(real_toolbench: Path) -> None:
    folder = real_toolbench / "converted_answers" / "gpt-3.5-turbo_CoT"
    found = read_answers([folder])
    assert [sum(a.subset == s for a in found) for s in ("G1_instruction", "G3_instruction")] == [100, 100]
    assert sum(not a.final_answer for a in found) == 86
    assert sum(call.cut for a in found for call in a.calls) == 927
    assert sum(len(a.calls) for a in found) == 939
    assert read_answers([folder / "G3_instruction.json"]) == [a for a in found if a.subset == "G3_instruction"]
    raw = read_answers([real_toolbench / "answer_cot"])
    assert [a.key for a in raw] == [("G1_instruction", i) for i in ("1073", "588", "608")]
    assert read_answers([real_toolbench / "answer_cot" / "G1_instruction" / "588_CoT@1.json"]) == [raw[1]]
    assert len(read_answers([real_toolbench / "answer"])) == 7
    assert [parse_answer_line(format_answer_line(a)) for a in found] == found


def test_read_answers_gives_the_same_answers_from_every_format(tmp_path: Path) -> None:
    one, two = some("G1_tool", "7", "8")
    three = answer(subset="G3_instruction", query_id="7")
    converted(tmp_path / "model" / "G1_tool.json", one, two)
    converted(tmp_path / "model" / "G3_instruction.json", three)
    for found in (one, two, three):
        write(tmp_path / "raw" / found.subset / f"{found.query_id}_CoT@1.json", make_raw_document(found))
    lines = "".join(format_answer_line(found) + "\n" for found in (one, two, three))
    write(tmp_path / "ours" / "answers.jsonl", lines)
    write(tmp_path / "ours" / "results.json", {"not": "answers"})
    expected = [one, two, three]
    for path in (tmp_path / "model", tmp_path / "raw", tmp_path / "ours", tmp_path / "ours" / "answers.jsonl"):
        assert read_answers([path]) == expected
    shutil.copytree(tmp_path / "raw", tmp_path / "out" / "raw" / "model")
    assert read_answers([tmp_path / "out" / "raw"]) == expected
    assert read_answers([tmp_path / "raw" / "G1_tool", tmp_path / "model" / "G3_instruction.json"]) == expected
    assert read_answers([write(tmp_path / "one.jsonl", format_answer_line(one))]) == [one]
    document = {one.query_id: make_converted_document(one)}
    assert read_answers([write(tmp_path / "G1_tool.json", json.dumps(document, indent=2))]) == [one]
    assert read_answers([write(tmp_path / "b" / "G1_tool.json", "\ufeff" + json.dumps(document))]) == [one]


@pytest.mark.slow
@given(answers(cut=True))
def test_answer_lines_round_trip(one: Answer) -> None:
    line = format_answer_line(one)
    assert "\n" not in line
    assert parse_answer_line(line) == one


def test_read_answers_splits_lines_only_at_newlines(tmp_path: Path) -> None:
    one = answer(query="a\u2028b\x85c\x1ed\r\n")
    text = json.dumps(json.loads(format_answer_line(one)), ensure_ascii=False) + "\n"
    (tmp_path / "answers.jsonl").write_bytes((text + format_answer_line(answer(query_id="8"))).encode())
    assert read_answers([tmp_path])[0] == one


def test_read_answers_replaces_lone_surrogates(tmp_path: Path) -> None:
    file = write(tmp_path / "G1_tool.json", {"7": make_converted_document(answer(query="half \ud83d, whole 😀"))})
    assert read_answers([file])[0].query == "half \ufffd, whole 😀"


GOOD = json.dumps({"7": make_converted_document(answer())})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[: len(GOOD) // 2], r"bad.json:1:\d+"),
        (GOOD.replace(": ", ": \0", 1), r"bad.json:1:\d+"),
        (json.dumps(json.loads(GOOD), indent=1)[:-20], r"bad.json:\d\d+:\d+"),
        ("\0" * 40, "not JSON"),
        ("", "not JSON"),
        ("[1, 2]", "another structure"),
        ('"text"', "another structure"),
        ('{"a": 1}', "another structure"),
        ("{}", "no answers"),
        ('{"7": {"query": "q"}}', r"query 7\n.*available_tools"),
        ('{"answer_generation": {"valid_data": true}}', r"bad.json\n.*final_answer|train_messages"),
        ("[" * 100_000, "nested too deep"),
        ('{"7": ' + "9" * 5000 + "}", "too many digits"),
        (GOOD.replace("First I'll ask.", "x" * 1_000_001), "query 7\n.*1,000,001 characters"),
        (format_answer_line(answer()) + "\n" + format_answer_line(answer(query_id="8"))[:90] + "\n", r"bad.json:2:\d+"),
        (format_answer_line(answer()) + "\n\n" + '{"query_id": "8", "steps": []}\n', "bad.json:3\n.*subset"),
        (format_answer_line(answer()) + "\n" + format_answer_line(answer()), "a second answer to query 7"),
        (format_answer_line(answer()).replace('"cut": false', '"cut": 3', 1), "cut is int"),
        (format_answer_line(answer(steps=("Thought: a",) * 401)), "401 steps, more than 400"),
    ],
)
def test_read_answers_names_file_and_place_of_errors(tmp_path: Path, content: str, says: str) -> None:
    file = write(tmp_path / "bad.json", content)
    with pytest.raises(DataError, match=says) as caught:
        read_answers([file])
    assert str(file) in str(caught.value)


def test_read_answers_rejects_binary_files(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_answers([tmp_path])


def test_read_answers_rejects_two_answers_to_one_query(tmp_path: Path) -> None:
    first = converted(tmp_path / "a" / "G1_tool.json", *some("G1_tool", "7", "8"))
    second = converted(tmp_path / "b" / "G1_tool.json", *some("G1_tool", "8"))
    with pytest.raises(DataError, match="query 8 of G1_tool") as caught:
        read_answers([first, second])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_read_answers_rejects_missing_paths_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such"):
        read_answers([tmp_path / "missing"])
    with pytest.raises(DataError, match="folder without"):
        read_answers([tmp_path])


def test_read_answers_rejects_huge_files(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # holes: it takes no space
    with pytest.raises(DataError, match="2,000,000,001 bytes"):
        read_answers([tmp_path])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_parse_answer_line_rejects_other_lines(text: str) -> None:
    with pytest.raises(SchemaMismatchError):
        parse_answer_line(text)
