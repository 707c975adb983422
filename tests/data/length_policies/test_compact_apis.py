"""`compact-apis` shortens the API list step by step."""

from __future__ import annotations

from dataclasses import replace

from tool_conversations import count_tokens, last_turn, make_limiter, make_long_conversation

from sweeper.data.conversations import ApiList
from sweeper.data.length_policies.base import Prompt
from sweeper.data.length_policies.compact_apis import compact_api_lists


def test_compact_apis_drops_examples_then_descriptions_then_unused_apis() -> None:
    conversation = make_long_conversation()
    functions = conversation.apis.functions or ()
    steps = list(compact_api_lists(functions, frozenset({"tool3", "tool5", "Finish"})))
    assert [len(step) for step in steps] == [9, 9, 8, 7, 6, 5, 4, 3]
    assert "example_value" not in str(steps[0])
    assert "description" in str(steps[0])
    assert "description" not in str(steps[1])
    assert [f["name"] for f in steps[-1]] == ["tool3", "tool5", "Finish"]
    for k, step in enumerate(steps):
        limit = count_tokens(conversation, ApiList(step))
        row = make_limiter("compact-apis", limit).make_row(conversation, last_turn(conversation))
        assert len(row.input_ids) == limit, "the first list that fits is used"
        assert row.lost_apis == len(functions) - len(step), k
        assert row.is_prompt_cut
    assert (
        make_limiter("compact-apis", count_tokens(conversation, ApiList(steps[-1])) - 1).make_row(
            conversation, last_turn(conversation)
        )
        == "too-long"
    )


def test_compact_api_lists_keeps_a_parameter_named_description() -> None:
    function = {"name": "f", "parameters": {"properties": {"description": {"type": "string", "description": "x"}}}}
    *_, bare = compact_api_lists([function], None)
    assert bare[0]["parameters"]["properties"] == {"description": {"type": "string"}}


def test_shorten_prompt_removes_no_api() -> None:
    conversation = make_long_conversation()
    functions = conversation.apis.functions or ()
    policy = make_limiter("compact-apis", 10**6)
    prompt = Prompt("s", "find me a city", conversation.apis, [])
    whole = len(policy.make_prompt(prompt, 10**6))
    bare = list(compact_api_lists(functions, None))[-1]
    shortest = len(policy.make_prompt(replace(prompt, apis=ApiList(bare)), 10**6))
    assert len(bare) == len(functions)
    assert len(policy.make_prompt(prompt, whole - 1)) < whole
    assert len(policy.make_prompt(prompt, shortest)) == shortest
    assert policy.make_prompt(prompt, shortest - 1) is None
