"""Conversations with tools for tests of length policies, drawn at random or made long."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from sweeper.data.conversations import ApiList, Conversation, Turn
from sweeper.data.tokenize import FoldedRow, make_length_limiter
from sweeper.data.tokenizer import train_tokenizer


@cache
def get_tokenizer() -> Any:
    return train_tokenizer(["some words to start from"], 300)


def make_limiter(policy: str, limit: int, api_format: str = "toolbench") -> Any:
    return make_length_limiter(get_tokenizer(), policy, limit, api_format)[0]


def make_api(name: str, words: int = 6) -> dict[str, Any]:
    properties = {"city": {"type": "string", "description": "where " * words, "example_value": "Oslo " * words}}
    parameters = {"type": "object", "properties": properties, "required": ["city"], "optional": []}
    return {"name": name, "description": "what it does " * words, "parameters": parameters}


_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
_names = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), max_size=4, unique=True)


@st.composite
def conversations(draw: Any) -> Conversation:
    turns = [Turn("system", draw(_text)), Turn("user", draw(_text))]
    for name in draw(st.lists(st.sampled_from(["alpha", "beta", "Finish"]), min_size=1, max_size=3)):
        turns += [Turn("assistant", f"\nThought: {draw(_text)}\nAction: {name}\nAction Input: {{}}")]
        turns += [Turn("function", draw(_text))]
    if draw(st.booleans()):
        turns.insert(-2, Turn("user", draw(_text)))  # ToolBench's tree search requests another attempt so
    return Conversation("Step 2: q", "q", tuple(turns[:-1]), ApiList([make_api(n) for n in [*draw(_names), "Finish"]]))


def target_ids(conversation: Conversation) -> list[int]:
    ids = get_tokenizer()(conversation.turns[-1].content, add_special_tokens=False)["input_ids"]
    return [*ids, get_tokenizer().eos_token_id]


def last_turn(conversation: Conversation) -> frozenset[int]:
    """Return the index of the target turn, as `make_row` expects it."""
    return FoldedRow(None, (conversation,)).target_turns


def make_long_conversation(apis: int = 8) -> Conversation:
    listed = ApiList([*(make_api(f"tool{k}") for k in range(apis)), make_api("Finish")])
    turns = (
        Turn("system", "be good. " * 20),
        Turn("user", "\nfind me a city\nBegin!\n"),
        Turn("assistant", "\nThought: \nAction: tool3\nAction Input: {}"),
        Turn("function", "an observation " * 40),
        Turn("assistant", '\nThought: \nAction: tool5\nAction Input: {"city": "Oslo"}'),
    )
    return Conversation("Step 4: q", "find me a city", turns, listed)


def count_tokens(conversation: Conversation, apis: ApiList | None = None) -> int:
    """Count the tokens of a whole example; `apis` replaces its own list."""
    shorter = conversation if apis is None else replace(conversation, apis=apis)
    return len(make_limiter("strict", 10**6).make_row(shorter, last_turn(conversation)).input_ids)
