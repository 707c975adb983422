"""Folding and tokenizing rows: the same targets after the same prefixes, each kept or counted."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import SETTINGS, WORLD
from tool_conversations import (
    conversations,
    count_tokens,
    get_tokenizer,
    last_turn,
    make_limiter,
    make_long_conversation,
)

from sweeper.config import DataSpec
from sweeper.data import ReaderCounts
from sweeper.data.conversations import ApiList, Conversation
from sweeper.data.length_policies.base import LENGTH_POLICIES, Prompt
from sweeper.data.length_policy import IGNORE_INDEX, LengthPolicyCounts
from sweeper.data.sources import open_source
from sweeper.data.tokenize import FoldedRow, fold_examples, make_length_limiter, tokenize_rows
from sweeper.data.tokenizer import train_tokenizer
from sweeper.toolworld import WorldConfig, build_world


@settings(max_examples=60, deadline=None)
@given(conversation=conversations(), policy=st.sampled_from(LENGTH_POLICIES.names), limit=st.integers(20, 1500))
def test_tokenize_rows_yields_or_counts_every_row(conversation: Conversation, policy: str, limit: int) -> None:
    counts, rows = LengthPolicyCounts(), [FoldedRow(None, (conversation,))]
    policy_fitter, texts = make_length_limiter(get_tokenizer(), policy, limit, "toolbench")
    kept = list(tokenize_rows(rows, policy_fitter, texts, counts))
    assert counts.examples + sum(counts.drop_counts.values()) == 1
    assert len(kept) == counts.examples
    assert counts.target_tokens == sum(int((row.labels != IGNORE_INDEX).sum()) for _, row in kept)
    assert policy in ("strict", "truncate") or not counts.cut_targets
    assert policy != "strict" or not counts.truncated_rows


def test_tokenize_rows_unfolds_a_row_that_is_too_long() -> None:
    whole = make_long_conversation(1)
    first = replace(whole, turns=whole.turns[:3])
    row = FoldedRow(None, (first, whole))
    limit = count_tokens(first)
    counts = LengthPolicyCounts()
    policy, texts = make_length_limiter(get_tokenizer(), "strict", limit, "toolbench")
    kept = list(tokenize_rows([row], policy, texts, counts))
    assert [fitted.input_ids.tolist() for _, fitted in kept] == [
        make_limiter("strict", limit).make_row(first, last_turn(first)).input_ids.tolist()
    ]
    assert (counts.examples, dict(counts.drop_counts)) == (1, {"too-long": 1})


def test_fold_examples_joins_neighbors_of_one_answer_only() -> None:
    whole = make_long_conversation(1)
    first, other = replace(whole, turns=whole.turns[:3]), replace(whole, query="another")
    rows = list(fold_examples([("train", first), ("train", whole), ("train", other), (None, first)], fold_steps=True))
    assert [len(row.examples) for row in rows] == [2, 1, 1]
    assert rows[0].target_turns == {0, 1}


def read_split(spec: DataSpec, name: str) -> list[Conversation]:
    return [
        conversation for split, conversation in open_source(spec).read_conversations(ReaderCounts()) if split == name
    ]


def make_rows(conversations: list[Conversation], *, fold_steps: bool) -> list[tuple[list[int], list[int]]]:
    policy, texts = make_length_limiter(train_tokenizer(["a"], 300), "strict", 10_000, "signature")
    folded = fold_examples((("train", c) for c in conversations), fold_steps=fold_steps)
    return [
        (r.input_ids.tolist(), r.labels.tolist()) for _, r in tokenize_rows(folded, policy, texts, LengthPolicyCounts())
    ]


def test_fold_examples_learns_the_same_targets_after_the_same_prefixes() -> None:
    conversations = read_split(WORLD, "train")

    def targets(folded: bool) -> list[tuple[tuple[int, ...], int]]:
        return sorted(
            (tuple(ids[:i]), label)
            for ids, labels in make_rows(conversations, fold_steps=folded)
            for i, label in enumerate(labels)
            if label != IGNORE_INDEX
        )

    assert targets(True) == targets(False)
    assert len(make_rows(conversations, fold_steps=True)) == 20 < len(make_rows(conversations, fold_steps=False))


def test_evaluation_prompt_is_the_beginning_of_the_training_row() -> None:
    world = build_world(WorldConfig(**SETTINGS))
    conversations = read_split(WORLD, "train")
    row, _ = make_rows(conversations, fold_steps=True)[0]
    query = next(q for q in world.splits["train"] if q.query == conversations[0].query)
    first = [turn.content for turn in conversations[0].turns if turn.role == "assistant"][:1]
    policy, _ = make_length_limiter(train_tokenizer(["a"], 300), "strict", 10_000, "signature")
    for turns in ([], [("assistant", first[0]), ("function", query.gold_calls[0][2])]):
        prompt = policy.make_prompt(Prompt(query.system, query.query, ApiList(query.functions), turns), 10_000)
        assert prompt is not None
        assert row[: len(prompt)] == prompt.tolist()
