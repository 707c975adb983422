"""Raw answers -> conversations -> tokens, once per (data, tokeniser, policy), shared by every trial."""

from sweeper.data.conversations import Conversation, Counts, Turn
from sweeper.data.inspect import inspect
from sweeper.data.prepare import Prepared, describe, fingerprint, prepare
from sweeper.data.render import prompt_ids
from sweeper.data.tokenizer import train_tokenizer

__all__ = [
    "Conversation",
    "Counts",
    "Prepared",
    "Turn",
    "describe",
    "fingerprint",
    "inspect",
    "prepare",
    "prompt_ids",
    "train_tokenizer",
]
