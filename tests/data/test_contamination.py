"""The audit finds what was planted, keeps quiet where nothing was, and names what to exclude."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.config import DataSpec
from sweeper.data import audit_contamination, open_suite
from sweeper.data.contamination import jaccard_similarity, make_shingles
from sweeper.errors import DataError

WORDS = "find the weather in a city and tell me which hotel has a room for two people near the old harbour tonight"


def released(query: str, *functions: str) -> dict[str, Any]:
    listed = str([{"name": name} for name in (*functions, "Finish")])
    turns = [
        ("system", f"s\nSpecifically, you have access to the following APIs: {listed}"),
        ("user", f"\n{query}\nBegin!\n"),
        ("assistant", "\nThought: \nAction: f\nAction Input: {}"),
    ]
    return {"id": f"Step 2: {query}", "conversations": [{"from": who, "value": text} for who, text in turns]}


def asked(number: int, query: str, tool: str, category: str) -> dict[str, Any]:
    api = {"category_name": category, "tool_name": tool, "api_name": "Search"}
    return {"query": query, "query_id": number, "api_list": [api], "relevant APIs": [[tool, "Search"]]}


def spec(path: Path) -> DataSpec:
    return DataSpec(
        name="d", source="toolbench", path=str(path), api_format="toolbench", fold_steps=False, max_length=9
    )


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    """Training on the tool Seen of category Old; each subset has one planted breach and one clean query."""
    train = [released(WORDS, "search_for_seen"), released("something else entirely", "other_for_seen")]
    (tmp_path / "toolllama.json").write_text(json.dumps(train))
    instruction = [{"query": "x", "query_id": 1, "api_list": asked(1, "", "Seen", "Old")["api_list"]}]
    (tmp_path / "instruction").mkdir()
    (tmp_path / "instruction" / "G1_query.json").write_text(json.dumps(instruction))
    folder = tmp_path / "test" / "test_instruction"
    folder.mkdir(parents=True)
    near = WORDS.replace("tonight", "tomorrow")
    rows = {
        "G1_instruction": [
            asked(1, WORDS.upper() + "!", "Seen", "Old"),
            asked(2, near, "Seen", "Old"),
            asked(3, "one of its own kind", "Seen", "Old"),
        ],
        "G1_tool": [asked(4, "a b c d", "Seen", "Old"), asked(5, "e f g h", "Fresh", "Old")],
        "G1_category": [asked(6, "i j k l", "Fresh2", "Old"), asked(7, "m n o p", "Fresh3", "New")],
        "G2_category": [asked(8, "q r s t", "Fresh4", "New")],
    }
    for subset, queries in rows.items():
        (folder / f"{subset}.json").write_text(json.dumps(queries))
    return audit_contamination(spec(tmp_path / "toolllama.json"), open_suite(spec(tmp_path / "test"))).to_document()


def test_each_planted_breach_is_found_and_nothing_else(found: dict[str, Any]) -> None:
    reasons = {entry["query_id"]: entry["reasons"] for entry in found["exclude"]}
    assert set(reasons) == {"1", "2", "4", "6"}
    assert reasons["1"] == [f"exact duplicate of the training query: {WORDS[:80]}…"]
    assert reasons["2"][0].startswith("near duplicate (0.")
    assert reasons["4"] == ["tool seen in training: seen"]
    assert reasons["6"] == ["category seen in training: Old"]


def test_each_subset_has_its_verdict_and_counts(found: dict[str, Any]) -> None:
    rows = {row["subset"]: row for row in found["subsets"]}
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


def test_the_duplicates_show_both_texts(found: dict[str, Any]) -> None:
    assert [(pair["query_id"], pair["training"]) for pair in found["duplicates"]] == [("1", WORDS), ("2", WORDS)]
    assert found["duplicates"][0]["similarity"] == 1.0
    assert found["train"]["queries"] == 2


def test_without_known_categories_the_promise_is_unknown_not_kept(tmp_path: Path) -> None:
    (tmp_path / "toolllama.json").write_text(json.dumps([released("a b c d", "search_for_seen")]))
    (tmp_path / "G1_category.json").write_text(json.dumps([asked(1, "e f g h", "Fresh", "New")]))
    suite = open_suite(spec(tmp_path / "G1_category.json"))
    (row,) = audit_contamination(spec(tmp_path / "toolllama.json"), suite).subsets
    assert (row.verdict, row.excluded) == ("unknown", 0)


def test_damaged_training_data_never_keep_a_promise(tmp_path: Path) -> None:
    whole = json.dumps([released("a b c d", "search_for_seen"), released("i j k l", "search_for_seen")])
    (tmp_path / "train.json").write_text(whole[: len(whole) - 40])
    (tmp_path / "G1_instruction.json").write_text(json.dumps([asked(1, "e f g h", "Fresh", "New")]))
    suite = open_suite(spec(tmp_path / "G1_instruction.json"))
    found = audit_contamination(spec(tmp_path / "train.json"), suite).to_document()
    assert found["subsets"][0]["verdict"] == "unknown"
    assert "train.json" in found["train"]["problems"][0]
    (tmp_path / "train.json").write_text(whole[:40])
    with pytest.raises(DataError, match="byte"):
        audit_contamination(spec(tmp_path / "train.json"), suite).to_document()


def test_real_files(real_toolbench: Path) -> None:
    found = audit_contamination(spec(real_toolbench / "answer"), open_suite(spec(real_toolbench))).to_document()
    assert found["train"]["queries"] == 6
    assert [row["queries"] for row in found["subsets"]] == [163, 61]
    assert found["exclude"] == []


def test_the_hash_tables_miss_no_pair_that_counts(tmp_path: Path) -> None:
    """Against all pairs compared one by one, on queries that share most of their words."""
    words = WORDS.split()
    train = [" ".join([*words[:k], "x", *words[k + 1 :]]) for k in range(len(words))]
    test = [" ".join([*words[:k], "y", *words[k + 1 :]]) for k in range(0, len(words), 2)]
    (tmp_path / "t.json").write_text(json.dumps([released(query, "f_for_g") for query in train]))
    rows = [asked(k, query, "G", "C") for k, query in enumerate(test)]
    (tmp_path / "G1_instruction.json").write_text(json.dumps(rows))
    suite = open_suite(spec(tmp_path / "G1_instruction.json"))
    report = audit_contamination(spec(tmp_path / "t.json"), suite, 0.5)
    best = {
        str(k): max(jaccard_similarity(make_shingles(q), make_shingles(t)) for t in train) for k, q in enumerate(test)
    }
    expected = {i: similarity for i, similarity in best.items() if similarity >= 0.5}
    assert expected
    assert {pair.query_id: pair.similarity for pair in report.duplicates} == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_symmetric_and_one_only_with_itself(a: str, b: str) -> None:
    assert jaccard_similarity(make_shingles(a), make_shingles(b)) == jaccard_similarity(
        make_shingles(b), make_shingles(a)
    )
    assert jaccard_similarity(make_shingles(a), make_shingles(a)) == 1.0
