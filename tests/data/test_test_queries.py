"""Suites: six subsets with their counts, the published sets by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import SETTINGS

from sweeper.config import DataSpec
from sweeper.data import open_suite
from sweeper.data.test_queries import PUBLISHED_SUITES, SUBSETS, find_tool_categories, read_suite
from sweeper.errors import DataError
from sweeper.toolworld import WorldConfig, build_world, export_world


def make_query(number: int, **changes: Any) -> dict[str, Any]:
    api = {"category_name": "Sports", "tool_name": "The Clique", "api_name": "Search"}
    return {"query": f"q{number}", "query_id": number, "api_list": [api], "relevant APIs": []} | changes


def write_queries(folder: Path, sizes: dict[str, int]) -> Path:
    (folder / "test_instruction").mkdir(parents=True)
    for subset, count in sizes.items():
        rows = [make_query(number) for number in range(count)]
        (folder / "test_instruction" / f"{subset}.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.parametrize("name", PUBLISHED_SUITES)
def test_read_suite_names_the_published_sets(tmp_path: Path, name: str) -> None:
    suite = read_suite(write_queries(tmp_path, PUBLISHED_SUITES[name]))
    assert (suite.name, list(suite.subsets)) == (name, list(SUBSETS))
    assert suite.to_document()["complete"]
    assert sum(suite.query_counts.values()) == int(name.rpartition("-")[2])


def test_suite_name_describes_a_part_of_a_published_set(tmp_path: Path) -> None:
    part = read_suite(write_queries(tmp_path / "a", {"G1_tool": 158, "G3_instruction": 61}))
    assert part.name == "part of solvable-765 (2 of its six subsets): G1_tool, G3_instruction"
    assert not part.to_document()["complete"]
    assert read_suite(write_queries(tmp_path / "b", {"G1_tool": 157})).name == "unpublished set"


def test_read_suite_reads_the_real_queries(real_toolbench: Path) -> None:
    suite = read_suite(real_toolbench)
    assert suite.query_counts == {"G1_instruction": 163, "G3_instruction": 61}
    assert suite.name.startswith("part of solvable-765")
    assert suite.missing_ids == {}
    assert read_suite(real_toolbench / "test_instruction") == suite
    one = read_suite(real_toolbench / "test_instruction" / "G3_instruction.json")
    assert one.subsets == {"G3_instruction": suite.subsets["G3_instruction"]}
    assert find_tool_categories(real_toolbench / "answer")["squake"]


def test_read_suite_selects_and_orders_queries_by_id(tmp_path: Path) -> None:
    write_queries(tmp_path, {"G1_tool": 5})
    (tmp_path / "test_query_ids").mkdir()
    (tmp_path / "test_query_ids" / "G1_tool.json").write_text(json.dumps({"3": 0, "1": 0, "99": 0}))
    (tmp_path / "test_query_ids" / "G2_category.json").write_text(json.dumps({"7": 0}))
    suite = read_suite(tmp_path)
    assert [q.id for q in suite.subsets["G1_tool"]] == ["3", "1"]
    assert suite.missing_ids == {"G1_tool": ("99",), "G2_category": ("7",)}


def test_read_suite_selects_ids_from_the_instruction_files(tmp_path: Path) -> None:
    (tmp_path / "instruction").mkdir()
    (tmp_path / "instruction" / "G1_query.json").write_text(json.dumps([make_query(k) for k in range(6)]))
    (tmp_path / "test_query_ids").mkdir()
    for subset, ids in (("G1_tool", [1, 2]), ("G1_category", [3])):
        (tmp_path / "test_query_ids" / f"{subset}_test_query_ids.json").write_text(json.dumps(dict.fromkeys(ids, 0)))
    assert read_suite(tmp_path).query_counts == {"G1_category": 1, "G1_tool": 2}


def test_open_suite_of_the_world_equals_its_export(tmp_path: Path) -> None:
    export_world(build_world(WorldConfig(**SETTINGS)), tmp_path)
    spec = DataSpec(
        name="w", source="toolworld", toolworld=SETTINGS, api_format="signature", fold_steps=True, max_length=400
    )
    assert open_suite(spec) == read_suite(tmp_path)
    assert open_suite(spec).query_counts == dict.fromkeys(SUBSETS, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("{}", "not a list"),
        (json.dumps([make_query(1), make_query(1)]), "more than once: 1"),
        (json.dumps([make_query(1, api_list=[{}])]), r"tool_name is NoneType"),
        (json.dumps([make_query(1, query=None)]), "query is NoneType"),
        (json.dumps([make_query(1, query_id=None)]), "query_id is NoneType"),
        ("[]", "none"),
    ],
)
def test_read_suite_names_the_damaged_file(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "G1_tool.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_suite(tmp_path)
    assert "none" in message or "G1_tool.json" in str(caught.value)


def test_read_suite_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such"):
        read_suite(tmp_path / "x")
