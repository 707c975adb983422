"""The tokenizer trained on a corpus, and the error for a missing one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config import ModelSpec
from sweeper.data.tokenizer import FORMAT_PHRASES, load_tokenizer, train_tokenizer
from sweeper.errors import ModelError

TEXTS = ["System: book a hotel in Oslo\nAPIs:\nbook_for_hotels(city: string)", "the weather in Oslo on 12 May"] * 5


def test_train_tokenizer_is_deterministic_and_bounded() -> None:
    tokenizer = train_tokenizer(TEXTS, 330)
    assert tokenizer.get_vocab() == train_tokenizer(iter(TEXTS), 330).get_vocab()
    assert len(tokenizer) <= 330


@pytest.mark.parametrize("text", [*TEXTS[:2], "Ærøskøbing 東京 \U0001f600", "  two  spaces\n\n", *FORMAT_PHRASES])
def test_trained_tokenizer_restores_any_text(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 330)
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("phrase", FORMAT_PHRASES)
def test_trained_tokenizer_has_one_token_for_each_phrase(phrase: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 330)
    assert len(tokenizer(phrase, add_special_tokens=False)["input_ids"]) == 1


def test_trained_tokenizer_has_one_token_for_each_digit() -> None:
    tokenizer = train_tokenizer(["1234567890"] * 50, 330)
    assert len(tokenizer("1234", add_special_tokens=False)["input_ids"]) == 4


def test_load_tokenizer_adds_the_missing_special_tokens(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 330)
    tokenizer.pad_token = tokenizer.bos_token = None
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(ModelSpec(name="m", source=str(tmp_path)))
    assert loaded.pad_token_id == loaded.bos_token_id == tokenizer.eos_token_id


def test_load_tokenizer_names_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tokenizer of m"):
        load_tokenizer(ModelSpec(name="m", source=str(tmp_path / "none")))
