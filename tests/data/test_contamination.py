"""The contamination audit reports what was planted, nothing else, and what to exclude."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import make_toolbench_spec

from sweeper.data import audit_contamination, open_suite
from sweeper.data.contamination import make_shingles
from sweeper.errors import DataError

WORDS = "find the weather in a city and tell me which hotel has a room for two people near the old harbour tonight"


def make_example(query: str, *functions: str) -> dict[str, Any]:
    listed = str([{"name": name} for name in (*functions, "Finish")])
    turns = [
        ("system", f"s\nSpecifically, you have access to the following APIs: {listed}"),
        ("user", f"\n{query}\nBegin!\n"),
        ("assistant", "\nThought: \nAction: f\nAction Input: {}"),
    ]
    return {"id": f"Step 2: {query}", "conversations": [{"from": who, "value": text} for who, text in turns]}


def make_query(number: int, query: str, tool: str, category: str) -> dict[str, Any]:
    api = {"category_name": category, "tool_name": tool, "api_name": "Search"}
    return {"query": query, "query_id": number, "api_list": [api], "relevant APIs": [[tool, "Search"]]}


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    """Training on the tool Seen of category Old; each subset has one planted breach and one clean query."""
    train = [make_example(WORDS, "search_for_seen"), make_example("something else entirely", "other_for_seen")]
    (tmp_path / "toolllama.json").write_text(json.dumps(train))
    instruction = [{"query": "x", "query_id": 1, "api_list": make_query(1, "", "Seen", "Old")["api_list"]}]
    (tmp_path / "instruction").mkdir()
    (tmp_path / "instruction" / "G1_query.json").write_text(json.dumps(instruction))
    folder = tmp_path / "test" / "test_instruction"
    folder.mkdir(parents=True)
    near = WORDS.replace("tonight", "tomorrow")
    rows = {
        "G1_instruction": [
            make_query(1, WORDS.upper() + "!", "Seen", "Old"),
            make_query(2, near, "Seen", "Old"),
            make_query(3, "one of its own kind", "Seen", "Old"),
        ],
        "G1_tool": [make_query(4, "a b c d", "Seen", "Old"), make_query(5, "e f g h", "Fresh", "Old")],
        "G1_category": [make_query(6, "i j k l", "Fresh2", "Old"), make_query(7, "m n o p", "Fresh3", "New")],
        "G2_category": [make_query(8, "q r s t", "Fresh4", "New")],
    }
    for subset, queries in rows.items():
        (folder / f"{subset}.json").write_text(json.dumps(queries))
    return audit_contamination(
        make_toolbench_spec(tmp_path / "toolllama.json"), open_suite(make_toolbench_spec(tmp_path / "test"))
    ).to_document()


def test_audit_reports_each_planted_leak_and_nothing_else(report: dict[str, Any]) -> None:
    reasons = {entry["query_id"]: entry["reasons"] for entry in report["exclude"]}
    assert set(reasons) == {"1", "2", "4", "6"}
    assert reasons["1"] == [f"exact duplicate of the training query: {WORDS[:80]}…"]
    assert reasons["2"][0].startswith("near duplicate (0.")
    assert reasons["4"] == ["tool seen in training: seen"]
    assert reasons["6"] == ["category seen in training: Old"]


def test_audit_gives_each_subset_a_verdict_and_counts(report: dict[str, Any]) -> None:
    rows = {row["subset"]: row for row in report["subsets"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "G1_instruction": "broken",
        "G1_tool": "broken",
        "G1_category": "broken",
        "G2_category": "holds",
    }
    first = rows["G1_instruction"]
    assert (first["queries"], first["exact_duplicates"], first["near_duplicates"]) == (3, 1, 1)
    assert (first["tools"], first["tools_in_training"], first["apis"], first["apis_in_training"]) == (1, 1, 1, 1)
    assert rows["G1_category"]["categories_in_training"] == 1
    assert rows["G1_category"]["tools_in_training"] == 0


def test_duplicates_have_both_texts(report: dict[str, Any]) -> None:
    assert [(pair["query_id"], pair["training"]) for pair in report["duplicates"]] == [("1", WORDS), ("2", WORDS)]
    assert report["duplicates"][0]["similarity"] == 1.0
    assert report["train"]["queries"] == 2


def test_promise_is_unknown_without_known_categories(tmp_path: Path) -> None:
    (tmp_path / "toolllama.json").write_text(json.dumps([make_example("a b c d", "search_for_seen")]))
    (tmp_path / "G1_category.json").write_text(json.dumps([make_query(1, "e f g h", "Fresh", "New")]))
    suite = open_suite(make_toolbench_spec(tmp_path / "G1_category.json"))
    (row,) = audit_contamination(make_toolbench_spec(tmp_path / "toolllama.json"), suite).subsets
    assert (row.verdict, row.excluded) == ("unknown", 0)


def test_promise_is_unknown_with_damaged_training_data(tmp_path: Path) -> None:
    whole = json.dumps([make_example("a b c d", "search_for_seen"), make_example("i j k l", "search_for_seen")])
    (tmp_path / "train.json").write_text(whole[: len(whole) - 40])
    (tmp_path / "G1_instruction.json").write_text(json.dumps([make_query(1, "e f g h", "Fresh", "New")]))
    suite = open_suite(make_toolbench_spec(tmp_path / "G1_instruction.json"))
    report = audit_contamination(make_toolbench_spec(tmp_path / "train.json"), suite).to_document()
    assert report["subsets"][0]["verdict"] == "unknown"
    assert "train.json" in report["train"]["problems"][0]
    (tmp_path / "train.json").write_text(whole[:40])
    with pytest.raises(DataError, match="byte"):
        audit_contamination(make_toolbench_spec(tmp_path / "train.json"), suite).to_document()


def test_audit_of_the_real_files(real_toolbench: Path) -> None:
    report = audit_contamination(
        make_toolbench_spec(real_toolbench / "answer"), open_suite(make_toolbench_spec(real_toolbench))
    ).to_document()
    assert report["train"]["queries"] == 6
    assert [row["queries"] for row in report["subsets"]] == [163, 61]
    assert report["exclude"] == []


def test_audit_misses_no_near_duplicate(tmp_path: Path) -> None:
    """Against all pairs compared one by one, on queries that share most of their words."""
    words = WORDS.split()
    train = [" ".join([*words[:k], "x", *words[k + 1 :]]) for k in range(len(words))]
    test = [" ".join([*words[:k], "y", *words[k + 1 :]]) for k in range(0, len(words), 2)]
    (tmp_path / "t.json").write_text(json.dumps([make_example(query, "f_for_g") for query in train]))
    rows = [make_query(k, query, "G", "C") for k, query in enumerate(test)]
    (tmp_path / "G1_instruction.json").write_text(json.dumps(rows))
    suite = open_suite(make_toolbench_spec(tmp_path / "G1_instruction.json"))
    report = audit_contamination(make_toolbench_spec(tmp_path / "t.json"), suite, 0.5)
    pairs = {str(k): [(make_shingles(q), make_shingles(t)) for t in train] for k, q in enumerate(test)}
    best = {key: max(len(a & b) / len(a | b) for a, b in compared) for key, compared in pairs.items()}
    expected = {i: similarity for i, similarity in best.items() if similarity >= 0.5}
    assert expected
    assert {pair.query_id: pair.similarity for pair in report.duplicates} == pytest.approx(expected)
