"""Rows within the limit, under every length policy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tool_conversations import conversations, get_tokenizer, last_turn, make_limiter, make_long_conversation, target_ids

from sweeper.data.conversations import ApiList, Conversation
from sweeper.data.length_policies.base import LENGTH_POLICIES, Prompt, TokenizedRow
from sweeper.data.length_policy import IGNORE_INDEX
from sweeper.data.prompt_format import make_conversation_segments


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(conversation=conversations(), policy=st.sampled_from(LENGTH_POLICIES.names), limit=st.integers(1, 1500))
def test_make_row_fits_the_limit_and_keeps_targets_whole(conversation: Conversation, policy: str, limit: int) -> None:
    row = make_limiter(policy, limit).make_row(conversation, last_turn(conversation))
    if isinstance(row, str):
        return
    assert len(row.input_ids) == len(row.labels) <= limit
    learned = row.labels[row.labels != IGNORE_INDEX].tolist()
    assert learned
    target = target_ids(conversation)
    if policy == "truncate":
        assert learned == target[: len(learned)]
        assert row.is_target_cut == (learned != target)
    else:
        assert learned == target
        assert row.input_ids[-len(target) :].tolist() == target, "the row ends with its target"
    query = get_tokenizer()("User: " + conversation.turns[1].content + "\n", add_special_tokens=False)["input_ids"]
    assert policy == "truncate" or get_tokenizer().decode(query) in get_tokenizer().decode(row.input_ids)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    conversation=conversations(),
    policy=st.sampled_from(LENGTH_POLICIES.names),
    api_format=st.sampled_from(["toolbench", "signature"]),
)
def test_make_row_leaves_alone_what_fits(conversation: Conversation, policy: str, api_format: str) -> None:
    row = make_limiter(policy, 100_000, api_format).make_row(conversation, last_turn(conversation))
    assert not (row.is_prompt_cut or row.is_target_cut or row.lost_apis)
    prompt, target = row.input_ids[row.labels == IGNORE_INDEX], row.labels[row.labels != IGNORE_INDEX]
    whole = "".join(segment.text for segment in make_conversation_segments(conversation, api_format))
    special = (get_tokenizer().bos_token_id, get_tokenizer().eos_token_id)
    assert target[-1] == get_tokenizer().eos_token_id
    assert get_tokenizer().decode(target[:-1]) == conversation.turns[-1].content
    assert get_tokenizer().decode([i for i in (*prompt, *target) if i not in special]) == whole


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(conversation=conversations(), policy=st.sampled_from(LENGTH_POLICIES.names), max_tokens=st.integers(1, 1500))
def test_make_prompt_fits_and_ends_with_the_assistant_label(
    conversation: Conversation, policy: str, max_tokens: int
) -> None:
    turns = [(t.role, t.content) for t in conversation.turns[2:-1]]
    ids = make_limiter(policy, 10).make_prompt(
        Prompt(conversation.turns[0].content, "q", conversation.apis, turns), max_tokens
    )
    assume(ids is not None)
    assert len(ids) <= max_tokens
    assert get_tokenizer().decode(ids).endswith("Assistant:")
    assert "User: \nq\nBegin!\n" in get_tokenizer().decode(ids)


@pytest.mark.parametrize("policy", LENGTH_POLICIES.names)
def test_make_row_handles_an_unreadable_api_list(policy: str) -> None:
    conversation = replace(make_long_conversation(), apis=ApiList(text="[{'name': " * 400))
    row = make_limiter(policy, 300).make_row(conversation, last_turn(conversation))
    expected = {"strict": "too-long", "compact-apis": "unreadable-api-list", "truncate": "target-cut-away"}
    if policy == "keep-target":
        assert isinstance(row, TokenizedRow)
        assert np.array_equal(row.labels[row.labels != IGNORE_INDEX], target_ids(conversation))
    else:
        assert row == expected[policy]
