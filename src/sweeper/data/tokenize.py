"""Conversations -> rows of token ids and labels, tokenized in parallel batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from sweeper.data.conversations import Conversation
from sweeper.data.length_policies.base import DropReason, TokenIds, TokenizedRow
from sweeper.data.length_policy import LengthLimiter, LengthPolicyCounts
from sweeper.data.prompt_format import Segment, make_conversation_segments
from sweeper.data.readers.base import Split
from sweeper.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_PER_BATCH = 512
"""Rows whose texts are tokenized together."""


@dataclass(frozen=True)
class FoldedRow:
    """One row: examples of one answer, each a prefix of the next. All their targets are learned."""

    split: Split | None
    """The split that the data come with; None where queries are held out."""
    examples: tuple[Conversation, ...]
    """From the shortest to the longest."""

    @property
    def full_conversation(self) -> Conversation:
        """The last example holds all turns."""
        return self.examples[-1]

    @property
    def target_turns(self) -> frozenset[int]:
        """Indices of the turns to learn, among the assistant's turns."""
        return frozenset(sum(turn.role == "assistant" for turn in e.turns) - 1 for e in self.examples)


def fold_examples(examples: Iterable[tuple[Split | None, Conversation]], *, fold_steps: bool) -> Iterator[FoldedRow]:
    """Fold neighboring examples of one answer into rows. Without `fold_steps`, every example is a row.

    An example that is a prefix of the next one, of the same query and APIs, joins its row. Under causal attention a
    prediction depends only on earlier tokens, so every target's loss is the same either way.
    """
    row: FoldedRow | None = None
    for split, example in examples:
        if row is not None and fold_steps and split == row.split and _is_prefix(row.full_conversation, example):
            row = FoldedRow(split, (*row.examples, example))
            continue
        if row is not None:
            yield row
        row = FoldedRow(split, (example,))
    if row is not None:
        yield row


def _is_prefix(first: Conversation, second: Conversation) -> bool:
    return first.query == second.query and first.turns == second.turns[: len(first.turns)] and first.apis == second.apis


class SegmentTokenizer:
    """Token ids of segments. Neighboring examples share most segments, which are tokenized once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        marks = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        self._control_ids = marks - {tokenizer.unk_token_id}
        self._current_ids: dict[Segment, TokenIds] = {}
        self._previous_ids: dict[Segment, TokenIds] = {}

    def __call__(self, segment: Segment) -> TokenIds:
        """Return the ids of one segment, int32; an assistant's end with the end token.

        Raises:
            ModelError: a tokenizer that reads a text as one of its own control tokens.
        """
        ids = self._current_ids.get(segment)
        if ids is None:
            ids = self._previous_ids.get(segment)
            if ids is None:
                ids = self._tokenize([segment])[0]
            self._current_ids[segment] = ids
        return ids

    def tokenize_ahead(self, segments: Iterable[Segment]) -> None:
        """Tokenize a batch in parallel. Segments of neither this batch nor the previous one are evicted."""
        self._previous_ids, self._current_ids = self._current_ids, {}
        new = [segment for segment in dict.fromkeys(segments) if segment not in self._previous_ids]
        self._current_ids.update(zip(new, self._tokenize(new), strict=True))

    def decode(self, ids: TokenIds) -> str:
        """Return the text of token ids."""
        return str(self.tokenizer.decode(ids.tolist()))

    def _tokenize(self, segments: Sequence[Segment]) -> list[TokenIds]:
        if not segments:
            return []
        # Without special tokens: OPT's tokenizer would put its `</s>` before every segment. Those that a text spells
        # are split into characters: data and models must not end a turn, or begin one, by writing about it.
        texts = [segment.text for segment in segments]
        encoded = self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False
        )["input_ids"]
        for text, ids in zip(texts, encoded, strict=True):
            if not self._control_ids.isdisjoint(ids):
                self._raise_control_token(text, ids)
        end = self.tokenizer.eos_token_id
        return [
            np.array([*ids, end] if segment.role == "assistant" else ids, dtype=np.int32)
            for segment, ids in zip(segments, encoded, strict=True)
        ]

    def _raise_control_token(self, text: str, ids: Sequence[int]) -> NoReturn:
        name = self.tokenizer.convert_ids_to_tokens(next(i for i in ids if i in self._control_ids))
        raise ModelError(
            f"tokenizer {self.tokenizer.name_or_path}",
            requested="control tokens that no text can spell",
            found=f"its token {name!r} in the text {text[:80]!r}",
            hint="use a fast tokenizer (tokenizer.json), or take that text out of the data",
        )


def make_length_limiter(
    tokenizer: PreTrainedTokenizerBase,
    policy: str,
    max_length: int,
    api_format: str,
    segment_tokenizer: SegmentTokenizer | None = None,
) -> tuple[LengthLimiter, SegmentTokenizer]:
    """Make a length limiter for a tokenizer, and its cache of segments (a new one, or the given one).

    Args:
        tokenizer: the tokenizer.
        policy: name of a length policy.
        max_length: tokens of the longest row.
        api_format: format of the API list in prompts.
        segment_tokenizer: a cache to share; None makes a new one.

    Returns:
        The limiter and the cache.
    """
    segment_tokenizer = segment_tokenizer or SegmentTokenizer(tokenizer)
    return LengthLimiter(
        policy, max_length, api_format, tokenizer.bos_token_id, segment_tokenizer, segment_tokenizer.decode
    ), segment_tokenizer


def tokenize_rows(
    rows: Iterable[FoldedRow], limiter: LengthLimiter, segment_tokenizer: SegmentTokenizer, counts: LengthPolicyCounts
) -> Iterator[tuple[FoldedRow, TokenizedRow]]:
    """Yield the rows that fit, in order, with their tokens. A row of several targets that is too long is unfolded.

    What the policy drops is counted in `counts`, once for each target.
    """
    rows = iter(rows)
    while batch := list(islice(rows, ROWS_PER_BATCH)):
        segment_tokenizer.tokenize_ahead(
            part for row in batch for part in make_conversation_segments(row.full_conversation, limiter.api_format)
        )
        for row in batch:
            fitted = limiter.make_row(row.full_conversation, row.target_turns)
            if fitted == "too-long" and len(row.examples) > 1:
                for single in (FoldedRow(row.split, (example,)) for example in row.examples):
                    yield from _count_and_yield(
                        single, limiter.make_row(single.full_conversation, single.target_turns), counts
                    )
            else:
                yield from _count_and_yield(row, fitted, counts)


def _count_and_yield(
    row: FoldedRow, fitted: TokenizedRow | DropReason, counts: LengthPolicyCounts
) -> Iterator[tuple[FoldedRow, TokenizedRow]]:
    counts.count_row(fitted, len(row.examples), row.full_conversation.apis)
    if isinstance(fitted, TokenizedRow):
        yield row, fitted
