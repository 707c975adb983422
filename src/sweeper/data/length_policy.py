"""What is done with an example that is longer than the model's context. A stated variable, and part of identity.

`strict` drops it. `keep-target` cuts the middle of its prompt, never the query or the target. `compact-apis` shortens
the API list: example values go first, then descriptions, then APIs the answer does not use. `truncate` keeps the
first tokens, as TRL does: what it loses is often the target. All count what they keep and what they lose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sweeper.config import LENGTH_POLICIES
from sweeper.data.conversations import ApiList, Conversation
from sweeper.data.prompt_format import (
    Segment,
    format_system_message,
    format_user_message,
    make_conversation_segments,
    make_segments,
)

POLICY_NAMES = LENGTH_POLICIES
ASSISTANT_PROMPT = Segment("Assistant:", "ask")
_ACTION_LINE = re.compile(r"\nAction: ([^\n]*)")

IGNORE_INDEX = -100
"""Label of a position without loss."""

TokenIds = np.ndarray[Any, np.dtype[np.int32]]
TokenizeSegment = Callable[[Segment], TokenIds]
"""Token ids of a segment; an assistant's end with the end token."""


@dataclass(frozen=True)
class TokenizedRow:
    """A row that fits: `input_ids` and `labels`, int32, of equal length. `cut`: which parts lost something."""

    input_ids: TokenIds
    labels: TokenIds
    is_prompt_cut: bool = False
    is_target_cut: bool = False
    lost_apis: int = 0


@dataclass
class LengthPolicyCounts:
    """What a policy kept and lost. `examples` are targets; `apis` are those listed in the prompts that were cut."""

    examples: int = 0
    target_tokens: int = 0
    cut_prompts: int = 0
    cut_targets: int = 0
    apis_in_cut_prompts: int = 0
    lost_apis: int = 0
    drop_counts: Counter[str] = field(default_factory=Counter)

    def count_row(self, row: TokenizedRow | str, targets: int, apis: ApiList) -> None:
        """Count a row that is trained on, or `targets` that are dropped."""
        if isinstance(row, str):
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

    def to_dict(self) -> dict[str, Any]:
        """As `inspect --json` and the manifest have it; shares are NaN where there is nothing to share."""
        nan = float("nan")
        return {
            "examples": self.examples,
            "target_tokens": self.target_tokens,
            "prompts_cut": self.cut_prompts,
            "prompts_cut_share": self.cut_prompts / self.examples if self.examples else nan,
            "targets_cut": self.cut_targets,
            "apis_in_cut_prompts": self.apis_in_cut_prompts,
            "apis_lost": self.lost_apis,
            "apis_lost_share": self.lost_apis / self.apis_in_cut_prompts if self.apis_in_cut_prompts else nan,
            "dropped": dict(self.drop_counts),
        }


@dataclass(frozen=True)
class LengthLimiter:
    """One policy at one length, for one prompt format and tokeniser."""

    policy: str
    max_length: int
    api_format: str
    bos_token_id: int
    tokenize: TokenizeSegment
    decode: Callable[[TokenIds], str]

    def make_row(self, conversation: Conversation, target_turns: frozenset[int]) -> TokenizedRow | str:
        """The training row, or the reason why the example is dropped.

        `targets`: the assistant turns to learn, counted from 0. A row of several is never cut: it is `too-long`.
        """
        row = self._tokenize_conversation(conversation, target_turns)
        if len(row.input_ids) <= self.max_length:
            return row
        if self.policy == "strict" or len(target_turns) > 1:
            return "too-long"
        if self.policy == "truncate":
            return self._truncate(conversation, row)
        if self.policy == "keep-target":
            return self._keep_target(conversation)
        return self._compact_apis(conversation, target_turns)

    def make_prompt_segments(
        self, system: str, query: str, apis: ApiList, turns: Sequence[tuple[str, str]]
    ) -> list[Segment]:
        """Segments up to where the model is to answer. `turns`: (role, content) after the query."""
        opening = [
            ("system", format_system_message(system, apis, self.api_format)),
            ("user", format_user_message(query)),
        ]
        return [*make_segments([*opening, *turns]), ASSISTANT_PROMPT]

    def make_prompt(
        self, system: str, query: str, apis: ApiList, turns: Sequence[tuple[str, str]], max_tokens: int
    ) -> TokenIds | None:
        """Token ids of `prompt_segments`, at most `room` of them; None where they do not fit.

        The policy of the training rows, without their knowledge: which APIs the answer will use is not known here, so
        that none is dropped. `strict` and `truncate` have no way to shorten a prompt and keep its end.
        """
        parts = self.make_prompt_segments(system, query, apis, turns)
        ids = self._concatenate_segments(parts)
        if len(ids) <= max_tokens:
            return ids
        if self.policy == "keep-target":
            cut = cut_middle(parts[:-1], self.tokenize, max_tokens - 1 - len(self.tokenize(ASSISTANT_PROMPT)))
            return None if cut is None else self._prepend_bos([cut, self.tokenize(ASSISTANT_PROMPT)])
        if self.policy == "compact-apis":
            for shorter in compact_api_lists(apis.functions or (), used_names=None):
                ids = self._concatenate_segments(self.make_prompt_segments(system, query, ApiList(shorter), turns))
                if len(ids) <= max_tokens:
                    return ids
        return None

    def _tokenize_conversation(
        self, conversation: Conversation, target_turns: frozenset[int], apis: ApiList | None = None
    ) -> TokenizedRow:
        parts = make_conversation_segments(conversation, self.api_format, apis)
        ids, learned, seen = [np.array([self.bos_token_id], dtype=np.int32)], [False], 0
        for part in parts:
            ids.append(self.tokenize(part))
            learned.append(part.role == "assistant" and seen in target_turns)
            seen += part.role == "assistant"
        labels = [
            piece if learn else np.full_like(piece, IGNORE_INDEX) for piece, learn in zip(ids, learned, strict=True)
        ]
        return TokenizedRow(np.concatenate(ids), np.concatenate(labels))

    def _truncate(self, conversation: Conversation, row: TokenizedRow) -> TokenizedRow | str:
        ids, labels = row.input_ids[: self.max_length], row.labels[: self.max_length]
        if not (labels != IGNORE_INDEX).any():
            return "target-cut-away"
        return TokenizedRow(ids, labels, is_target_cut=True, lost_apis=self._count_lost_apis(conversation.apis, ids))

    def _keep_target(self, conversation: Conversation) -> TokenizedRow | str:
        *prompt, ask, target = make_conversation_segments(conversation, self.api_format)
        tail = [self.tokenize(ask), self.tokenize(target)]
        cut = cut_middle(prompt, self.tokenize, self.max_length - 1 - sum(map(len, tail)))
        if cut is None:
            return "target-does-not-fit"
        ids = self._prepend_bos([cut, *tail])
        labels = np.full_like(ids, IGNORE_INDEX)
        labels[len(ids) - len(tail[1]) :] = tail[1]
        return TokenizedRow(ids, labels, is_prompt_cut=True, lost_apis=self._count_lost_apis(conversation.apis, cut))

    def _compact_apis(self, conversation: Conversation, target_turns: frozenset[int]) -> TokenizedRow | str:
        functions = conversation.apis.functions
        if functions is None:
            return "unreadable-api-list"
        for shorter in compact_api_lists(functions, find_used_apis(conversation)):
            row = self._tokenize_conversation(conversation, target_turns, ApiList(shorter))
            if len(row.input_ids) <= self.max_length:
                return replace(row, is_prompt_cut=True, lost_apis=len(functions) - len(shorter))
        return "too-long"

    def _count_lost_apis(self, apis: ApiList, ids: TokenIds) -> int:
        """APIs whose entry no longer begins in these tokens."""
        text = self.decode(ids)
        shown = "'name': '{}'" if self.api_format == "toolbench" else "\n{}("
        return sum(shown.format(name) not in text for name in apis.names)

    def _concatenate_segments(self, parts: Sequence[Segment]) -> TokenIds:
        return self._prepend_bos([self.tokenize(part) for part in parts])

    def _prepend_bos(self, pieces: Sequence[TokenIds]) -> TokenIds:
        return np.concatenate([np.array([self.bos_token_id], dtype=np.int32), *pieces])


def cut_middle(prompt: Sequence[Segment], tokenize: TokenizeSegment, max_tokens: int) -> TokenIds | None:
    """The prompt's tokens without a stretch in their middle, at most `room` of them.

    The first user segment (the query) is never cut; of all other tokens as many stay at the start as at the end
    (one more at the start where the number is odd). None where the query alone does not fit.
    """
    query = next(k for k, part in enumerate(prompt) if part.role == "user")
    pieces = [tokenize(part) for part in prompt]
    free = np.concatenate([np.full(len(piece), k != query) for k, piece in enumerate(pieces)])
    keep = max_tokens - len(pieces[query])
    if keep < 0:
        return None
    loose = np.flatnonzero(free)
    start = -(-keep // 2)
    ids: TokenIds = np.concatenate(pieces)
    return np.delete(ids, loose[start : start + max(len(loose) - keep, 0)])


def find_used_apis(conversation: Conversation) -> frozenset[str]:
    """Names called in a conversation, its target's among them, and `Finish`."""
    said = (turn.content for turn in conversation.turns if turn.role == "assistant")
    return frozenset({"Finish", *(name.strip() for text in said for name in _ACTION_LINE.findall(text))})


def compact_api_lists(
    functions: Sequence[dict[str, Any]], used_names: frozenset[str] | None
) -> Iterator[tuple[dict[str, Any], ...]]:
    """Ever shorter API lists: without example values; without descriptions too; then without one unused API after
    another, from the last. `used` None: it is not known which are used, and none is removed."""
    bare = tuple(_remove_key(function, "example_value") for function in functions)
    yield bare
    bare = tuple(_remove_key(function, "description") for function in bare)
    yield bare
    kept = list(bare)
    for function in reversed(bare) if used_names is not None else ():
        if str(function.get("name")) not in (used_names or ()):
            kept.remove(function)
            yield tuple(kept)


def _remove_key(function: dict[str, Any], key: str) -> dict[str, Any]:
    """A schema without `key`, neither its own nor its parameters'. A parameter may itself be called that: it stays."""
    slim = {name: value for name, value in function.items() if name != key}
    parameters = slim.get("parameters")
    if isinstance(parameters, dict) and isinstance(parameters.get("properties"), dict):
        properties = {
            name: {k: v for k, v in spec.items() if k != key} if isinstance(spec, dict) else spec
            for name, spec in parameters["properties"].items()
        }
        slim["parameters"] = {**parameters, "properties": properties}
    return slim
