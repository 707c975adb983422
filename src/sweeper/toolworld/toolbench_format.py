"""The world as ToolBench documents: training answers and test queries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from sweeper.toolworld.catalogue import Api
from sweeper.toolworld.config import SUBSETS
from sweeper.toolworld.queries import WorldQuery
from sweeper.toolworld.schemas import Document, describe_api
from sweeper.toolworld.world import World

TOOLBENCH_TYPES = {"string": "STRING", "integer": "NUMBER"}
"""JSON Schema's type -> the spelling of ToolBench's `api_list`."""

Message: TypeAlias = Document
TrainingSplit = Literal["train", "validation"]


def make_training_documents(world: World, split: TrainingSplit = "train") -> Iterator[tuple[str, Document]]:
    """Make the ToolBench answer document of every query of a split, in the order of their ids.

    Args:
        world: the world.
        split: which queries.

    Yields:
        (file name below the answer folder, document).

    Example:
        >>> world = build_world(WorldConfig(seed=1, train_queries=20, test_queries_per_subset=1))
        >>> len(list(make_training_documents(world)))
        20
    """
    for query in world.splits[split]:
        yield f"{query.subset[:2]}_answer/{query.query_id}_toolworld.json", make_answer_document(query)


def make_answer_document(query: WorldQuery) -> Document:
    """Make a ToolBench answer of the gold solution: one message list per step, ending in the message to learn."""
    messages: list[Message] = [
        {"role": "system", "content": query.system},
        {"role": "user", "content": f"\n{query.query}\nBegin!\n"},
    ]
    steps: list[list[Message]] = []
    for name, arguments, observation in query.gold_calls:
        messages.append(_make_call_message(name, arguments))
        steps.append(list(messages))
        messages.append({"role": "function", "name": name, "content": observation})
    finish = {"return_type": "give_answer", "final_answer": query.gold_answer}
    steps.append([*messages, _make_call_message("Finish", finish)])
    return {
        "win": True,
        "tree": {},
        "forward_args": {"generator": "toolworld"},
        "compare_candidates": [],
        "answer_generation": {
            "valid_data": True,
            "query_count": len(steps),
            "total_tokens": 0,
            "final_answer": json.dumps(finish),
            "finish_type": "give_answer",
            "function": list(query.functions),
            "chain": [],
            "train_messages": steps,
            "query": query.query,
        },
    }


def make_test_query_documents(world: World, split: Literal["test", "validation"] = "test") -> dict[str, list[Document]]:
    """Make ToolBench's test queries, by subset; subsets without queries are left out of the validation split.

    Args:
        world: the world.
        split: which queries.

    Returns:
        Subset -> documents in the form of `test_instruction/*.json`.

    Example:
        >>> world = build_world(WorldConfig(seed=1, train_queries=20, test_queries_per_subset=1))
        >>> sorted(make_test_query_documents(world))[:3]
        ['G1_category', 'G1_instruction', 'G1_tool']
    """
    documents: dict[str, list[Document]] = {subset: [] for subset in SUBSETS}
    for query in world.splits[split]:
        documents[query.subset].append(make_query_document(query))
    return {subset: queries for subset, queries in documents.items() if queries or split == "test"}


def make_query_document(query: WorldQuery) -> Document:
    """Make a test query: `{api_list, query, "relevant APIs", query_id}`."""
    offered = {api.name: api for api in query.apis}
    relevant = [offered[name] for name, _, _ in query.gold_calls]
    return {
        "api_list": [_make_api_item(api) for api in query.apis],
        "query": query.query,
        "relevant APIs": [[api.tool, api.field] for api in relevant],
        "query_id": query.query_id,
    }


def _make_call_message(name: str, arguments: Mapping[str, str | int]) -> Message:
    return {
        "role": "assistant",
        "content": None,
        "function_call": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _make_api_item(api: Api) -> Document:
    return {
        "category_name": api.category,
        "tool_name": api.tool,
        "api_name": api.field,
        "api_description": describe_api(api),
        "required_parameters": [
            {"name": p.name, "type": TOOLBENCH_TYPES[p.type], "description": "", "default": p.example}
            for p in api.parameters
        ],
        "optional_parameters": [],
        "method": "GET",
        "template_response": {"error": "str", "response": "str"},
    }
