"""Suites: the six subsets with their counts, the published sets by name, a part of one called a part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import DataSpec
from sweeper.data import open_suite
from sweeper.data.api_names import find_candidate_tools, make_function_name, standardize_name
from sweeper.data.test_queries import PUBLISHED_SUITES, SUBSETS, find_tool_categories, read_suite
from sweeper.errors import DataError
from sweeper.toolworld import WorldConfig, build_world, export_world

SETTINGS = {"train_queries": 20, "validation_queries": 6, "test_queries_per_subset": 3}


def query(number: int, **changes: Any) -> dict[str, Any]:
    api = {"category_name": "Sports", "tool_name": "The Clique", "api_name": "Search"}
    return {"query": f"q{number}", "query_id": number, "api_list": [api], "relevant APIs": []} | changes


def write(folder: Path, sizes: dict[str, int]) -> Path:
    (folder / "test_instruction").mkdir(parents=True)
    for subset, count in sizes.items():
        rows = [query(number) for number in range(count)]
        (folder / "test_instruction" / f"{subset}.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.parametrize("name", PUBLISHED_SUITES)
def test_the_published_sets_are_named(tmp_path: Path, name: str) -> None:
    suite = read_suite(write(tmp_path, PUBLISHED_SUITES[name]))
    assert (suite.name, list(suite.subsets)) == (name, list(SUBSETS))
    assert suite.to_document()["complete"]
    assert sum(suite.query_counts.values()) == int(name.rpartition("-")[2])


def test_a_part_says_which_part_it_is(tmp_path: Path) -> None:
    part = read_suite(write(tmp_path / "a", {"G1_tool": 158, "G3_instruction": 61}))
    assert part.name == "part of solvable-765 (2 of its six subsets): G1_tool, G3_instruction"
    assert not part.to_document()["complete"]
    assert read_suite(write(tmp_path / "b", {"G1_tool": 157})).name == "unpublished set"


def test_real_queries(real_toolbench: Path) -> None:
    suite = read_suite(real_toolbench)
    assert suite.query_counts == {"G1_instruction": 163, "G3_instruction": 61}
    assert suite.name.startswith("part of solvable-765")
    assert suite.missing_ids == {}
    assert read_suite(real_toolbench / "test_instruction") == suite
    one = read_suite(real_toolbench / "test_instruction" / "G3_instruction.json")
    assert one.subsets == {"G3_instruction": suite.subsets["G3_instruction"]}
    assert find_tool_categories(real_toolbench / "answer")["squake"]


def test_function_names_are_those_of_the_real_answers(real_toolbench: Path) -> None:
    """The names that ToolBench wrote into its answers, made again from the instruction file's raw names."""
    raw = json.loads((real_toolbench / "instruction" / "G1_query.json").read_text())
    made = {make_function_name(api["api_name"], api["tool_name"]) for row in raw for api in row["api_list"]}
    cot = [json.loads(f.read_text()) for f in (real_toolbench / "answer_cot" / "G1_instruction").glob("*.json")]
    shown = {f["name"] for answer in cot for f in answer["answer_generation"]["function"]} - {"Finish"}
    suite = read_suite(real_toolbench)
    offered = {api.function for queries in suite.subsets.values() for q in queries for api in q.apis}
    assert shown
    assert shown <= offered | made


def test_ids_choose_and_order_the_queries(tmp_path: Path) -> None:
    write(tmp_path, {"G1_tool": 5})
    (tmp_path / "test_query_ids").mkdir()
    (tmp_path / "test_query_ids" / "G1_tool.json").write_text(json.dumps({"3": 0, "1": 0, "99": 0}))
    (tmp_path / "test_query_ids" / "G2_category.json").write_text(json.dumps({"7": 0}))
    suite = read_suite(tmp_path)
    assert [q.id for q in suite.subsets["G1_tool"]] == ["3", "1"]
    assert suite.missing_ids == {"G1_tool": ("99",), "G2_category": ("7",)}


def test_ids_choose_from_toolbenchs_instruction_files_too(tmp_path: Path) -> None:
    (tmp_path / "instruction").mkdir()
    (tmp_path / "instruction" / "G1_query.json").write_text(json.dumps([query(k) for k in range(6)]))
    (tmp_path / "test_query_ids").mkdir()
    for subset, ids in (("G1_tool", [1, 2]), ("G1_category", [3])):
        (tmp_path / "test_query_ids" / f"{subset}_test_query_ids.json").write_text(json.dumps(dict.fromkeys(ids, 0)))
    assert read_suite(tmp_path).query_counts == {"G1_category": 1, "G1_tool": 2}


def test_the_world_and_its_export_give_the_same_suite(tmp_path: Path) -> None:
    export_world(build_world(WorldConfig(**SETTINGS)), tmp_path)
    spec = DataSpec(
        name="w", source="toolworld", toolworld=SETTINGS, api_format="signature", fold_steps=True, max_length=400
    )
    assert open_suite(spec) == read_suite(tmp_path)
    assert open_suite(spec).query_counts == dict.fromkeys(SUBSETS, 3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("{}", "not a list"),
        (json.dumps([query(1), query(1)]), "more than once: 1"),
        (json.dumps([query(1, api_list=[{}])]), r"tool_name is NoneType"),
        (json.dumps([query(1, query=None)]), "query is NoneType"),
        (json.dumps([query(1, query_id=None)]), "query_id is NoneType"),
        ("[]", "none"),
    ],
)
def test_bad_files_say_where(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "G1_tool.json").write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        read_suite(tmp_path)
    assert "none" in says or "G1_tool.json" in str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such"):
        read_suite(tmp_path / "x")


@pytest.mark.parametrize(
    ("api", "tool", "expected"),
    [
        ("Transfermarkt search", "TheClique", "transfermarkt_search_for_theclique"),
        (
            "Download/Stream",
            "YTStream - Download YouTube Videos",
            "download_stream_for_ytstream_download_youtube_videos",
        ),
        ("id", "x", "is_id_for_x"),
        ("2 things!", "3D__maker_", "get_2_things_for_get_3d_maker"),
        ("a" * 50, "b" * 30, "a" * 29 + "_for_" + "b" * 30),
    ],
)
def test_names_follow_toolbenchs_rules(api: str, tool: str, expected: str) -> None:
    assert make_function_name(api, tool) == expected
    assert standardize_name(tool) in find_candidate_tools(expected)


def test_a_name_with_two_joints_may_belong_to_two_tools() -> None:
    assert find_candidate_tools("a_for_b_for_c") == {"b_for_c", "c"}
    assert find_candidate_tools("no_joint") == {"no_joint"}
