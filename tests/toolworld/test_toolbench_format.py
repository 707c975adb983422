"""Documents of a world have ToolBench's shape, compared with real files if they lie beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.toolworld import (
    SUBSETS,
    World,
    WorldConfig,
    build_world,
    make_test_query_documents,
    make_training_documents,
)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(WorldConfig(train_queries=60, validation_queries=12, test_queries_per_subset=5))


def shape(value: Any) -> Any:
    """Keys and types, to the first element of lists; empty lists and free-form keys have no shape."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "properties"}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_answer_documents_end_each_step_in_the_message_to_learn(world: World) -> None:
    for (name, document), query in zip(make_training_documents(world, "train"), world.splits["train"], strict=True):
        answer = document["answer_generation"]
        assert name == f"{query.subset[:2]}_answer/{query.query_id}_toolworld.json"
        assert answer["valid_data"] is True
        assert answer["query"] == query.query
        steps = answer["train_messages"]
        assert len(steps) == len(query.gold_calls) + 1
        for i, messages in enumerate(steps):
            assert [m["role"] for m in messages] == ["system", "user", "assistant", *["function", "assistant"] * i]
            assert messages[:-1] == steps[-1][: len(messages) - 1]
            assert messages[1]["content"] == f"\n{query.query}\nBegin!\n"
        calls = [m["function_call"] for m in steps[-1] if m["role"] == "assistant"]
        assert [(c["name"], json.loads(c["arguments"])) for c in calls[:-1]] == [(n, a) for n, a, _ in query.gold_calls]
        assert calls[-1]["name"] == "Finish"
        assert json.loads(calls[-1]["arguments"]) == json.loads(answer["final_answer"])
        assert [f["name"] for f in answer["function"]][-1] == "Finish"
        assert {c["name"] for c in calls} <= {f["name"] for f in answer["function"]}


def test_query_documents_list_the_relevant_apis(world: World) -> None:
    for subset, queries in make_test_query_documents(world).items():
        for document in queries:
            listed = [[a["tool_name"], a["api_name"]] for a in document["api_list"]]
            assert all(pair in listed for pair in document["relevant APIs"])
            assert len(document["relevant APIs"]) == (1 if subset.startswith("G1") else 2)
            names = [f["name"] for f in world.get_query(document["query_id"]).functions]
            assert names == [*(f"{api}_for_{tool}" for tool, api in listed), "Finish"]


def test_answer_documents_have_the_shape_of_toolbenchs(world: World, real_toolbench: Path) -> None:
    real = json.loads((real_toolbench / "answer" / "G1_answer" / "10_ChatGPT_DFS_woFilter_w2.json").read_text())
    _, ours = next(make_training_documents(world, "train"))
    assert set(ours) == set(real)
    theirs, mine = real["answer_generation"], ours["answer_generation"]
    assert set(mine) == set(theirs)
    for key in theirs:
        assert type(mine[key]) is type(theirs[key]), key
    assert shape(mine["train_messages"][1]) == shape(theirs["train_messages"][1])
    assert [shape(m) for m in mine["train_messages"][1]] == [shape(m) for m in theirs["train_messages"][1]]
    assert shape(mine["function"]) == shape(theirs["function"])
    assert mine["function"][-1] == theirs["function"][-1]
    described = theirs["function"][0]["parameters"]["properties"]["is_id"]
    assert all(set(p) == set(described) for f in mine["function"][:-1] for p in f["parameters"]["properties"].values())


def test_query_documents_have_the_shape_of_toolbenchs(world: World, real_toolbench: Path) -> None:
    real = json.loads((real_toolbench / "test_instruction" / "G1_instruction.json").read_text())[0]
    ours = make_test_query_documents(world)["G1_instruction"][0]
    assert set(ours) == set(real)
    assert set(ours["api_list"][0]) == set(real["api_list"][0])
    assert shape(ours["api_list"][0]["required_parameters"]) == shape(real["api_list"][0]["required_parameters"])
    assert shape(ours["relevant APIs"]) == shape(real["relevant APIs"])
    ids = json.loads((real_toolbench / "test_query_ids" / "G1_instruction.json").read_text())
    assert set(map(type, ids.values())) == {int}


def test_make_test_query_documents_leaves_out_empty_subsets_of_the_validation_split(world: World) -> None:
    assert tuple(make_test_query_documents(world)) == SUBSETS
    validation = make_test_query_documents(world, "validation")
    assert {subset: len(queries) for subset, queries in validation.items()} == {
        "G1_instruction": 6,
        "G2_instruction": 3,
        "G3_instruction": 3,
    }
