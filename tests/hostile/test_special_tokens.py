"""Texts that spell a tokenizer's special tokens: they are text, in training and at evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted_agents import DATA
from tiny_data import MODEL, make_toolbench_spec

from sweeper.data import prepare_data
from sweeper.data.conversations import ReaderCounts
from sweeper.data.prompt_format import Segment, make_conversation_segments
from sweeper.data.sources import open_source
from sweeper.data.tokenize import SegmentTokenizer
from sweeper.data.tokenizer import train_tokenizer
from sweeper.errors import ModelError
from sweeper.toolworld import WorldConfig, build_world, export_world

SPELLED = "<s>20</s> <pad> <|endoftext|> <|im_end|> <unk>"


def make_tokenizer(**special: Any) -> Any:
    tokenizer = train_tokenizer([SPELLED, "a blue lamp"] * 9, 320)
    if special:
        tokenizer.add_special_tokens(special)
    return tokenizer


@pytest.mark.parametrize(
    "special",
    [
        {},
        {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ],
)
def test_every_special_token_is_spelled_out(special: dict[str, str], tmp_path: Path) -> None:
    for tokenizer in (made := make_tokenizer(**special), reload_tokenizer(made, tmp_path)):
        segments = SegmentTokenizer(tokenizer)
        ids = segments(Segment(SPELLED, "user"))
        assert segments.decode(ids) == SPELLED
        assert not set(ids.tolist()) & set(tokenizer.all_special_ids)
        answer = segments(Segment(SPELLED, "assistant")).tolist()
        assert answer == [*ids.tolist(), tokenizer.eos_token_id]


def reload_tokenizer(tokenizer: Any, folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_a_tokenizer_that_cannot_spell_its_end_token_is_refused() -> None:
    class Old:
        bos_token_id, eos_token_id, pad_token_id, unk_token_id, name_or_path = 1, 2, 0, 3, "old"

        def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[9, 2, 9] if "</s>" in text else [9, 3] for text in texts]}

        def convert_ids_to_tokens(self, token: int) -> str:
            return {2: "</s>"}[token]

    segments = SegmentTokenizer(Old())  # type: ignore[arg-type]
    assert segments(Segment("plain", "user")).tolist() == [9, 3]
    with pytest.raises(ModelError, match="its token '</s>' in the text 'a </s> b'"):
        segments(Segment("a </s> b", "user"))


def test_rows_have_one_begin_and_one_end_token_after_each_assistant_turn(tmp_path: Path) -> None:
    folder = tmp_path / "answer"
    world = build_world(WorldConfig(train_queries=12, validation_queries=4, test_queries_per_subset=1))
    export_world(world, tmp_path)
    for file in folder.rglob("*.json"):
        text = file.read_text().replace('"content": "', f'"content": "{SPELLED} ')
        file.write_text(text.replace('\\"final_answer\\": \\"', f'\\"final_answer\\": \\"{SPELLED} '))
    prepared = prepare_data(make_toolbench_spec(folder), MODEL, tmp_path / "store")
    tokenizer = prepared.load_tokenizer()
    for row in [*prepared.load_split("train"), *prepared.load_split("validation")]:
        text = tokenizer.decode(row["input_ids"])
        assert row["input_ids"].count(tokenizer.bos_token_id) == 1
        assert row["input_ids"].count(tokenizer.eos_token_id) == text.count("Assistant:")
        assert SPELLED in text


def test_generated_worlds_keep_their_identity_because_their_rows_are_the_same() -> None:
    source = open_source(DATA)
    texts = [
        part.text
        for _, c in source.read_conversations(ReaderCounts())
        for part in make_conversation_segments(c, "signature")
    ]
    tokenizer = train_tokenizer(texts, 320)
    plain = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] == plain
    assert not any(mark in text for text in texts for mark in ("<|", "<s>", "</s>", "<pad>"))
