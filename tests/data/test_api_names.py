"""ToolBench's function names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.data.api_names import find_candidate_tools, make_function_name, standardize_name
from sweeper.data.test_queries import read_suite


def test_make_function_name_equals_the_names_in_the_real_answers(real_toolbench: Path) -> None:
    """The names that ToolBench wrote into its answers, made again from the instruction file's raw names."""
    raw = json.loads((real_toolbench / "instruction" / "G1_query.json").read_text())
    made = {make_function_name(api["api_name"], api["tool_name"]) for row in raw for api in row["api_list"]}
    cot = [json.loads(f.read_text()) for f in (real_toolbench / "answer_cot" / "G1_instruction").glob("*.json")]
    shown = {f["name"] for answer in cot for f in answer["answer_generation"]["function"]} - {"Finish"}
    suite = read_suite(real_toolbench)
    offered = {api.function for queries in suite.subsets.values() for q in queries for api in q.apis}
    assert shown
    assert shown <= offered | made


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
def test_make_function_name_follows_toolbench(api: str, tool: str, expected: str) -> None:
    assert make_function_name(api, tool) == expected
    assert standardize_name(tool) in find_candidate_tools(expected)


def test_find_candidate_tools_splits_at_every_separator() -> None:
    assert find_candidate_tools("a_for_b_for_c") == {"b_for_c", "c"}
    assert find_candidate_tools("no_joint") == {"no_joint"}
