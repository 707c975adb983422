"""Fitting: no row is longer than asked, no target is cut but under `truncate`, and all that is lost is counted."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweeper.data.conversations import ApiList, Conversation, Turn
from sweeper.data.length_policies.base import LENGTH_POLICIES, Prompt, TokenizedRow
from sweeper.data.length_policies.compact_apis import compact_api_lists
from sweeper.data.length_policy import IGNORE_INDEX, LengthPolicyCounts
from sweeper.data.prompt_format import make_conversation_segments
from sweeper.data.tokenize import FoldedRow, fold_examples, make_length_limiter, tokenize_rows
from sweeper.data.tokenizer import train_tokenizer


@cache
def tokenizer() -> Any:
    return train_tokenizer(["some words to start from"], 300)


def fit(policy: str, limit: int, api_format: str = "toolbench") -> Any:
    return make_length_limiter(tokenizer(), policy, limit, api_format)[0]


def api(name: str, words: int = 6) -> dict[str, Any]:
    properties = {"city": {"type": "string", "description": "where " * words, "example_value": "Oslo " * words}}
    parameters = {"type": "object", "properties": properties, "required": ["city"], "optional": []}
    return {"name": name, "description": "what it does " * words, "parameters": parameters}


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
names = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), max_size=4, unique=True)


@st.composite
def conversations(draw: Any) -> Conversation:
    turns = [Turn("system", draw(text)), Turn("user", draw(text))]
    for name in draw(st.lists(st.sampled_from(["alpha", "beta", "Finish"]), min_size=1, max_size=3)):
        turns += [Turn("assistant", f"\nThought: {draw(text)}\nAction: {name}\nAction Input: {{}}")]
        turns += [Turn("function", draw(text))]
    if draw(st.booleans()):
        turns.insert(-2, Turn("user", draw(text)))  # the search asks for another try in the middle
    return Conversation("Step 2: q", "q", tuple(turns[:-1]), ApiList([api(n) for n in [*draw(names), "Finish"]]))


def target_ids(conversation: Conversation) -> list[int]:
    ids = tokenizer()(conversation.turns[-1].content, add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer().eos_token_id]


def last(conversation: Conversation) -> frozenset[int]:
    return FoldedRow(None, (conversation,)).target_turns


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(conversation=conversations(), policy=st.sampled_from(LENGTH_POLICIES.names), limit=st.integers(1, 1500))
def test_rows_fit_and_targets_are_whole(conversation: Conversation, policy: str, limit: int) -> None:
    row = fit(policy, limit).make_row(conversation, last(conversation))
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
    query = tokenizer()("User: " + conversation.turns[1].content + "\n", add_special_tokens=False)["input_ids"]
    assert policy == "truncate" or tokenizer().decode(query) in tokenizer().decode(row.input_ids)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    conversation=conversations(),
    policy=st.sampled_from(LENGTH_POLICIES.names),
    api_format=st.sampled_from(["toolbench", "signature"]),
)
def test_what_fits_is_left_alone_and_decodes_to_its_text(
    conversation: Conversation, policy: str, api_format: str
) -> None:
    row = fit(policy, 100_000, api_format).make_row(conversation, last(conversation))
    assert not (row.is_prompt_cut or row.is_target_cut or row.lost_apis)
    prompt, target = row.input_ids[row.labels == IGNORE_INDEX], row.labels[row.labels != IGNORE_INDEX]
    whole = "".join(segment.text for segment in make_conversation_segments(conversation, api_format))
    special = (tokenizer().bos_token_id, tokenizer().eos_token_id)
    assert target[-1] == tokenizer().eos_token_id
    assert tokenizer().decode(target[:-1]) == conversation.turns[-1].content
    assert tokenizer().decode([i for i in (*prompt, *target) if i not in special]) == whole


@settings(max_examples=60, deadline=None)
@given(conversation=conversations(), policy=st.sampled_from(LENGTH_POLICIES.names), limit=st.integers(20, 1500))
def test_everything_is_kept_or_counted(conversation: Conversation, policy: str, limit: int) -> None:
    counts, rows = LengthPolicyCounts(), [FoldedRow(None, (conversation,))]
    policy_fitter, texts = make_length_limiter(tokenizer(), policy, limit, "toolbench")
    kept = list(tokenize_rows(rows, policy_fitter, texts, counts))
    assert counts.examples + sum(counts.drop_counts.values()) == 1
    assert len(kept) == counts.examples
    assert counts.target_tokens == sum(int((row.labels != IGNORE_INDEX).sum()) for _, row in kept)
    assert policy in ("strict", "truncate") or not counts.cut_targets
    assert policy != "strict" or not counts.truncated_rows


def long_one(apis: int = 8) -> Conversation:
    listed = ApiList([*(api(f"tool{k}") for k in range(apis)), api("Finish")])
    turns = (
        Turn("system", "be good. " * 20),
        Turn("user", "\nfind me a city\nBegin!\n"),
        Turn("assistant", "\nThought: \nAction: tool3\nAction Input: {}"),
        Turn("function", "an observation " * 40),
        Turn("assistant", '\nThought: \nAction: tool5\nAction Input: {"city": "Oslo"}'),
    )
    return Conversation("Step 4: q", "find me a city", turns, listed)


def length(conversation: Conversation, apis: ApiList | None = None) -> int:
    shorter = conversation if apis is None else replace(conversation, apis=apis)
    return len(fit("strict", 10**6).make_row(shorter, last(conversation)).input_ids)


def test_keep_target_cuts_the_middle_and_fills_the_room() -> None:
    conversation, limit = long_one(), 600
    row = fit("keep-target", limit).make_row(conversation, last(conversation))
    assert isinstance(row, TokenizedRow)
    assert len(row.input_ids) == limit
    shown = tokenizer().decode(row.input_ids)
    assert shown.startswith("<s>System: be good.")
    assert "find me a city" in shown
    assert row.is_prompt_cut
    assert row.lost_apis > 0
    assert fit("keep-target", 20).make_row(conversation, last(conversation)) == "target-does-not-fit"


def test_compact_apis_drops_examples_then_descriptions_then_unused_apis() -> None:
    conversation = long_one()
    functions = conversation.apis.functions or ()
    steps = list(compact_api_lists(functions, frozenset({"tool3", "tool5", "Finish"})))
    assert [len(step) for step in steps] == [9, 9, 8, 7, 6, 5, 4, 3]
    assert "example_value" not in str(steps[0])
    assert "description" in str(steps[0])
    assert "description" not in str(steps[1])
    assert [f["name"] for f in steps[-1]] == ["tool3", "tool5", "Finish"]
    for k, step in enumerate(steps):
        limit = length(conversation, ApiList(step))
        row = fit("compact-apis", limit).make_row(conversation, last(conversation))
        assert len(row.input_ids) == limit, "the first list that fits is taken"
        assert row.lost_apis == len(functions) - len(step), k
        assert row.is_prompt_cut
    assert (
        fit("compact-apis", length(conversation, ApiList(steps[-1])) - 1).make_row(conversation, last(conversation))
        == "too-long"
    )


def test_a_parameter_called_description_is_no_description() -> None:
    function = {"name": "f", "parameters": {"properties": {"description": {"type": "string", "description": "x"}}}}
    *_, bare = compact_api_lists([function], None)
    assert bare[0]["parameters"]["properties"] == {"description": {"type": "string"}}


def test_at_evaluation_no_api_is_removed() -> None:
    conversation = long_one()
    functions = conversation.apis.functions or ()
    policy = fit("compact-apis", 10**6)
    prompt = Prompt("s", "find me a city", conversation.apis, [])
    whole = len(policy.make_prompt(prompt, 10**6))
    bare = list(compact_api_lists(functions, None))[-1]
    shortest = len(policy.make_prompt(replace(prompt, apis=ApiList(bare)), 10**6))
    assert len(bare) == len(functions)
    assert len(policy.make_prompt(prompt, whole - 1)) < whole
    assert len(policy.make_prompt(prompt, shortest)) == shortest
    assert policy.make_prompt(prompt, shortest - 1) is None


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(conversation=conversations(), policy=st.sampled_from(LENGTH_POLICIES.names), room=st.integers(1, 1500))
def test_an_evaluation_prompt_fits_and_asks_for_an_answer(conversation: Conversation, policy: str, room: int) -> None:
    turns = [(t.role, t.content) for t in conversation.turns[2:-1]]
    found = fit(policy, 10).make_prompt(Prompt(conversation.turns[0].content, "q", conversation.apis, turns), room)
    assume(found is not None)
    assert len(found) <= room
    assert tokenizer().decode(found).endswith("Assistant:")
    assert "User: \nq\nBegin!\n" in tokenizer().decode(found)


def test_strict_and_truncate_do_not_shorten_prompts_at_evaluation() -> None:
    conversation = long_one()
    for policy in ("strict", "truncate"):
        assert fit(policy, 10).make_prompt(Prompt("s", "q", conversation.apis, []), 50) is None


def test_a_folded_row_that_is_too_long_is_taken_apart() -> None:
    whole = long_one(1)
    first = replace(whole, turns=whole.turns[:3])
    row = FoldedRow(None, (first, whole))
    limit = length(first)
    counts = LengthPolicyCounts()
    policy, texts = make_length_limiter(tokenizer(), "strict", limit, "toolbench")
    kept = list(tokenize_rows([row], policy, texts, counts))
    assert [fitted.input_ids.tolist() for _, fitted in kept] == [
        fit("strict", limit).make_row(first, last(first)).input_ids.tolist()
    ]
    assert (counts.examples, dict(counts.drop_counts)) == (1, {"too-long": 1})


def test_folding_joins_neighbours_of_one_answer_only() -> None:
    whole = long_one(1)
    first, other = replace(whole, turns=whole.turns[:3]), replace(whole, query="another")
    rows = list(fold_examples([("train", first), ("train", whole), ("train", other), (None, first)], fold_steps=True))
    assert [len(row.examples) for row in rows] == [2, 1, 1]
    assert rows[0].target_turns == {0, 1}


def test_truncate_drops_what_lost_its_whole_target() -> None:
    conversation = long_one()
    assert fit("truncate", 100).make_row(conversation, last(conversation)) == "target-cut-away"


@pytest.mark.slow
def test_truncate_is_what_trl_does(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from sweeper.config import ModelSpec
    from sweeper.models import build_model

    sizes = {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = build_model(ModelSpec(name="t", config=sizes | {"word_embed_proj_dim": 16}), tokenizer(), 0)
    conversations = [replace(long_one(apis), id=f"{apis}") for apis in (0, 1, 2)]
    whole = [fit("strict", 10**6).make_row(c, last(c)) for c in conversations]
    limit = len(whole[1].input_ids) - 3  # the first fits, the second loses a part of its target, the third all of it
    rows = [{"input_ids": row.input_ids.tolist(), "labels": row.labels.tolist()} for row in whole]
    config = SFTConfig(
        output_dir=str(tmp_path), max_length=limit, report_to="none", use_cpu=True, bf16=False, disable_tqdm=True
    )
    trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer())
    mine = [fit("truncate", limit).make_row(c, last(c)) for c in conversations]
    assert mine[2] == "target-cut-away"
    assert [row.is_target_cut for row in mine[:2]] == [False, True]
    theirs = [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    assert [(row.input_ids.tolist(), row.labels.tolist()) for row in mine[:2]] == theirs


@pytest.mark.parametrize("policy", LENGTH_POLICIES.names)
def test_an_api_list_that_is_no_list_of_literals(policy: str) -> None:
    conversation = replace(long_one(), apis=ApiList(text="[{'name': " * 400))
    row = fit(policy, 300).make_row(conversation, last(conversation))
    expected = {"strict": "too-long", "compact-apis": "unreadable-api-list", "truncate": "target-cut-away"}
    if policy == "keep-target":
        assert isinstance(row, TokenizedRow)
        assert np.array_equal(row.labels[row.labels != IGNORE_INDEX], target_ids(conversation))
    else:
        assert row == expected[policy]
