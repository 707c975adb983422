"""The tokenizer of a model: its own where it is pretrained, else a BPE trained on the corpus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sweeper.config import ModelSpec
from sweeper.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_VERSION = 1
"""Raised whenever the same corpus gives another trained tokenizer."""

FORMAT_PHRASES = (
    "System: ",
    "User: ",
    "Assistant:",
    "Function: ",
    "\nBegin!\n",
    "\nAPIs:",
    "\nThought: ",
    "\nAction: ",
    "\nAction Input: ",
    "_for_",
    "(item: string)",
    "(item: string, count: integer)",
    "Finish(return_type: string, final_answer: string)",
    "Finish",
    '{"error": "", "response": "',
    '{"return_type": "give_answer", "final_answer": "',
)
"""Fixed phrases of the Thought / Action format, one token each, so that a tiny model need not spell them."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE of at most `vocab_size` tokens, with one token per digit. Deterministic.

    Args:
        texts: the corpus.
        vocab_size: the most tokens.

    Returns:
        The tokenizer.

    Example:
        >>> tokenizer = train_tokenizer(["a blue lamp", "a red lamp"] * 9, vocab_size=300)
        >>> len(tokenizer) <= 300
        True
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # A word is the same token after a space, a quote or an underscore, so that copying it is one step.
            pre_tokenizers.Split(Regex(r"\d|[^\W\d_]+|[\W_]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(FORMAT_PHRASES),
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_remove_phrases(text) for text in texts), trainer)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in FORMAT_PHRASES])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )


def _remove_phrases(text: str) -> str:
    """Remove the phrases: they have tokens of their own, and should not use up merges."""
    for phrase in FORMAT_PHRASES:
        text = text.replace(phrase, " \n")
    return text


def load_tokenizer(model: ModelSpec) -> PreTrainedTokenizerBase:
    """Load a pretrained model's own tokenizer, with padding and begin tokens. Raises ModelError.

    Args:
        model: a pretrained model.

    Returns:
        The tokenizer.
    """
    from transformers import AutoTokenizer

    from sweeper.models import find_hub_commit

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model.source, revision=find_hub_commit(str(model.source)) or "main"
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"tokenizer of {model.name}",
            requested=str(model.source),
            found=str(error).strip().splitlines()[0],
            hint="a local directory saved by save_pretrained, or a hub id that this machine can reach",
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.bos_token_id is None:
        tokenizer.bos_token = tokenizer.eos_token
    return tokenizer
