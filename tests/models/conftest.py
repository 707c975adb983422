"""A tokenizer for tiny models."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from sweeper.data import train_tokenizer


@pytest.fixture(scope="package")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["a small corpus of words"] * 3, 300)
