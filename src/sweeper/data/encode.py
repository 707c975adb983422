"""Conversations -> rows of token ids and labels, in batches that the tokeniser works on in parallel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from sweeper.data.conversations import Conversation
from sweeper.data.fit import FitCounts, Fitted, Fitter, Ids
from sweeper.data.render import Segment, conversation_segments

BATCH = 512
"""Rows whose texts go to the tokeniser together."""


@dataclass(frozen=True)
class Folded:
    """One row: examples of one answer, each the beginning of the next; all their targets are learned."""

    split: str | None
    examples: tuple[Conversation, ...]

    @property
    def whole(self) -> Conversation:
        """The last example holds all turns."""
        return self.examples[-1]

    @property
    def targets(self) -> frozenset[int]:
        """Indices of the turns to learn, among the assistant's turns."""
        return frozenset(sum(turn.role == "assistant" for turn in e.turns) - 1 for e in self.examples)


def fold(examples: Iterable[tuple[str | None, Conversation]], *, fold_steps: bool) -> Iterator[Folded]:
    """Rows of neighbouring examples of one answer. Without folding, one row each.

    With it, an example whose turns begin the next one, of the same query and APIs, joins its row. Under causal
    attention a target's prediction sees only what stands before it, so each target's loss is the same either way.
    """
    row: Folded | None = None
    for split, example in examples:
        if row is not None and fold_steps and split == row.split and _begins(row.whole, example):
            row = Folded(split, (*row.examples, example))
            continue
        if row is not None:
            yield row
        row = Folded(split, (example,))
    if row is not None:
        yield row


def _begins(first: Conversation, second: Conversation) -> bool:
    return first.query == second.query and first.turns == second.turns[: len(first.turns)] and first.apis == second.apis


class Texts:
    """Token ids of segments. Neighbouring examples share most of theirs, which are tokenised once."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._now: dict[Segment, Ids] = {}
        self._before: dict[Segment, Ids] = {}

    def __call__(self, segment: Segment) -> Ids:
        """The ids of one segment, int32; an assistant's end with the end token."""
        found = self._now.get(segment)
        if found is None:
            found = self._before.get(segment)
            if found is None:
                found = self._tokenise([segment])[0]
            self._now[segment] = found
        return found

    def ahead(self, wanted: Iterable[Segment]) -> None:
        """Tokenise a batch in parallel. What neither this batch nor the one before it asked for is forgotten."""
        self._before, self._now = self._now, {}
        new = [segment for segment in dict.fromkeys(wanted) if segment not in self._before]
        self._now.update(zip(new, self._tokenise(new), strict=True))

    def decode(self, ids: Ids) -> str:
        """The text of ids."""
        return str(self.tokenizer.decode(ids.tolist()))

    def _tokenise(self, new: Sequence[Segment]) -> list[Ids]:
        if not new:
            return []
        # OPT's tokeniser would put its `</s>` before every text: not here.
        texts = [segment.text for segment in new]
        encoded = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [
            np.array([*ids, end] if segment.role == "assistant" else ids, dtype=np.int32)
            for segment, ids in zip(new, encoded, strict=True)
        ]


def fitter(
    tokenizer: Any, policy: str, max_length: int, api_format: str, texts: Texts | None = None
) -> tuple[Fitter, Texts]:
    """A policy for a tokeniser, and the memory of its texts (a new one, or `texts`)."""
    texts = texts or Texts(tokenizer)
    return Fitter(policy, max_length, api_format, tokenizer.bos_token_id, texts, texts.decode), texts


def encode(rows: Iterable[Folded], fit: Fitter, texts: Texts, counts: FitCounts) -> Iterator[tuple[Folded, Fitted]]:
    """Fitted rows in the order of `rows`. A row of several targets that does not fit is taken apart first.

    What the policy drops is counted in `counts`, one count for each target.
    """
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        texts.ahead(part for row in batch for part in conversation_segments(row.whole, fit.api_format))
        for row in batch:
            fitted = fit.row(row.whole, row.targets)
            if fitted == "too-long" and len(row.examples) > 1:
                for single in (Folded(row.split, (example,)) for example in row.examples):
                    yield from _counted(single, fit.row(single.whole, single.targets), counts)
            else:
                yield from _counted(row, fitted, counts)


def _counted(row: Folded, fitted: Fitted | str, counts: FitCounts) -> Iterator[tuple[Folded, Fitted]]:
    counts.add(fitted, len(row.examples), row.whole.apis)
    if not isinstance(fitted, str):
        yield row, fitted
