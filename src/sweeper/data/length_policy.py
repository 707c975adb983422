"""Rows and prompts of bounded length, for one policy, prompt format and tokenizer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sweeper.data.api_formats.base import API_FORMATS
from sweeper.data.conversations import ApiList, Conversation
from sweeper.data.length_policies.base import LENGTH_POLICIES, DropReason, Prompt, TokenIds, TokenizedRow
from sweeper.data.manifest import LengthPolicySummary
from sweeper.data.prompt_format import (
    Segment,
    format_system_message,
    format_user_message,
    make_conversation_segments,
    make_segments,
)

ASSISTANT_PROMPT = Segment("Assistant:", "ask")
IGNORE_INDEX = -100
"""Label of a position without loss."""
TokenizeSegment = Callable[[Segment], TokenIds]
"""Returns the token ids of a segment; an assistant's end with the end token."""


@dataclass
class LengthPolicyCounts:
    """What a policy kept and lost. `examples` are targets."""

    examples: int = 0
    target_tokens: int = 0
    cut_prompts: int = 0
    cut_targets: int = 0
    apis_in_cut_prompts: int = 0
    """APIs listed in the prompts that were cut."""
    lost_apis: int = 0
    drop_counts: Counter[str] = field(default_factory=Counter)

    def count_row(self, row: TokenizedRow | DropReason, targets: int, apis: ApiList) -> None:
        """Count a row, or `targets` that are dropped."""
        if not isinstance(row, TokenizedRow):
            self.drop_counts[row] += targets
            return
        self.examples += targets
        self.target_tokens += int((row.labels != IGNORE_INDEX).sum())
        self.cut_prompts += row.is_prompt_cut
        self.cut_targets += row.is_target_cut
        if row.is_prompt_cut or row.is_target_cut:
            self.apis_in_cut_prompts += len(apis.names)
            self.lost_apis += row.lost_apis

    @property
    def truncated_rows(self) -> int:
        """Rows that lost a part of prompt or target."""
        return self.cut_prompts + self.cut_targets

    def summarize(self) -> LengthPolicySummary:
        """Return the counts and shares, as manifests and `data inspect --json` have them."""
        return LengthPolicySummary(
            examples=self.examples,
            target_tokens=self.target_tokens,
            prompts_cut=self.cut_prompts,
            prompts_cut_share=self.cut_prompts / self.examples if self.examples else math.nan,
            targets_cut=self.cut_targets,
            apis_in_cut_prompts=self.apis_in_cut_prompts,
            apis_lost=self.lost_apis,
            apis_lost_share=self.lost_apis / self.apis_in_cut_prompts if self.apis_in_cut_prompts else math.nan,
            dropped=dict(self.drop_counts),
        )


@dataclass(frozen=True)
class LengthLimiter:
    """One length policy at one length, for one prompt format and tokenizer."""

    policy: str
    """Name of the policy, of `data/length_policies/`."""
    max_length: int
    """Longest row, tokens."""
    api_format: str
    """Name of the API format, of `data/api_formats/`."""
    bos_token_id: int
    """Token that begins every row."""
    tokenize: TokenizeSegment
    """Returns the token ids of a segment."""
    decode: Callable[[TokenIds], str]
    """Returns the text of token ids."""

    def make_row(self, conversation: Conversation, target_turns: frozenset[int]) -> TokenizedRow | DropReason:
        """Return the training row of an example, or why the example is dropped.

        Args:
            conversation: the example.
            target_turns: the turns to learn, counted from 0 among the assistant's turns. A row of several is never cut:
                if it does not fit, it is `too-long`.
        """
        row = self.tokenize_conversation(conversation, target_turns)
        if len(row.input_ids) <= self.max_length:
            return row
        if len(target_turns) > 1:
            return "too-long"
        return LENGTH_POLICIES.load(self.policy).shorten_example(self, conversation, target_turns, row)

    def make_prompt(self, prompt: Prompt, max_tokens: int) -> TokenIds | None:
        """Return the token ids of an agent's prompt, at most `max_tokens`; None where it does not fit."""
        ids = self.tokenize_prompt(prompt)
        if len(ids) <= max_tokens:
            return ids
        return LENGTH_POLICIES.load(self.policy).shorten_prompt(self, prompt, max_tokens)

    def make_prompt_segments(self, prompt: Prompt) -> list[Segment]:
        """Return the segments of a prompt, up to the label that precedes the answer."""
        opening = [
            ("system", format_system_message(prompt.system, prompt.apis, self.api_format)),
            ("user", format_user_message(prompt.query)),
        ]
        return [*make_segments([*opening, *prompt.turns]), ASSISTANT_PROMPT]

    def tokenize_prompt(self, prompt: Prompt) -> TokenIds:
        """Return all token ids of a prompt."""
        return self.prepend_bos([self.tokenize(part) for part in self.make_prompt_segments(prompt)])

    def tokenize_conversation(
        self, conversation: Conversation, target_turns: frozenset[int], apis: ApiList | None = None
    ) -> TokenizedRow:
        """Return the row of a whole example; `apis` replaces its own list."""
        parts = make_conversation_segments(conversation, self.api_format, apis)
        ids, is_target, turn = [np.array([self.bos_token_id], dtype=np.int32)], [False], 0
        for part in parts:
            ids.append(self.tokenize(part))
            is_target.append(part.role == "assistant" and turn in target_turns)
            turn += part.role == "assistant"
        labels = [
            piece if learn else np.full_like(piece, IGNORE_INDEX) for piece, learn in zip(ids, is_target, strict=True)
        ]
        return TokenizedRow(np.concatenate(ids), np.concatenate(labels))

    def count_lost_apis(self, apis: ApiList, ids: TokenIds) -> int:
        """Count the APIs whose entry does not begin within these tokens."""
        text, api_format = self.decode(ids), API_FORMATS.load(self.api_format)
        return sum(api_format.make_entry_prefix(name) not in text for name in apis.names)

    def prepend_bos(self, pieces: Sequence[TokenIds]) -> TokenIds:
        """Join token ids after the token that begins every row."""
        return np.concatenate([np.array([self.bos_token_id], dtype=np.int32), *pieces])
