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

from sweeper.data.conversations import ApiList, Conversation
from sweeper.data.render import Segment, conversation_segments, segments, system_text, user_text
from sweeper.spec import FIT_POLICIES

POLICIES = FIT_POLICIES
ASK = Segment("Assistant:", "ask")
_ACTION = re.compile(r"\nAction: ([^\n]*)")

IGNORED = -100
"""Label of a position without loss."""

Ids = np.ndarray[Any, np.dtype[np.int32]]
Tokens = Callable[[Segment], Ids]
"""Token ids of a segment; an assistant's end with the end token."""


@dataclass(frozen=True)
class Fitted:
    """A row that fits: `input_ids` and `labels`, int32, of equal length. `cut`: which parts lost something."""

    input_ids: Ids
    labels: Ids
    prompt_cut: bool = False
    target_cut: bool = False
    apis_lost: int = 0


@dataclass
class FitCounts:
    """What a policy kept and lost. `examples` are targets; `apis` are those listed in the prompts that were cut."""

    examples: int = 0
    target_tokens: int = 0
    prompts_cut: int = 0
    targets_cut: int = 0
    apis: int = 0
    apis_lost: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, row: Fitted | str, targets: int, apis: ApiList) -> None:
        """Count a row that is trained on, or `targets` that are dropped."""
        if isinstance(row, str):
            self.dropped[row] += targets
            return
        self.examples += targets
        self.target_tokens += int((row.labels != IGNORED).sum())
        self.prompts_cut += row.prompt_cut
        self.targets_cut += row.target_cut
        if row.prompt_cut or row.target_cut:
            self.apis += len(apis.names)
            self.apis_lost += row.apis_lost

    @property
    def truncated(self) -> int:
        """Rows that lost a part of prompt or target."""
        return self.prompts_cut + self.targets_cut

    def json(self) -> dict[str, Any]:
        """As `inspect --json` and the manifest have it; shares are NaN where there is nothing to share."""
        nan = float("nan")
        return {
            "examples": self.examples,
            "target_tokens": self.target_tokens,
            "prompts_cut": self.prompts_cut,
            "prompts_cut_share": self.prompts_cut / self.examples if self.examples else nan,
            "targets_cut": self.targets_cut,
            "apis_in_cut_prompts": self.apis,
            "apis_lost": self.apis_lost,
            "apis_lost_share": self.apis_lost / self.apis if self.apis else nan,
            "dropped": dict(self.dropped),
        }


@dataclass(frozen=True)
class Fitter:
    """One policy at one length, for one prompt format and tokeniser."""

    policy: str
    max_length: int
    api_format: str
    bos: int
    tokens: Tokens
    decode: Callable[[Ids], str]

    def row(self, conversation: Conversation, targets: frozenset[int]) -> Fitted | str:
        """The training row, or the reason why the example is dropped.

        `targets`: the assistant turns to learn, counted from 0. A row of several is never cut: it is `too-long`.
        """
        row = self._whole(conversation, targets)
        if len(row.input_ids) <= self.max_length:
            return row
        if self.policy == "strict" or len(targets) > 1:
            return "too-long"
        if self.policy == "truncate":
            return self._truncate(conversation, row)
        if self.policy == "keep-target":
            return self._keep_target(conversation)
        return self._compact(conversation, targets)

    def prompt_segments(
        self, system: str, query: str, apis: ApiList, turns: Sequence[tuple[str, str]]
    ) -> list[Segment]:
        """Segments up to where the model is to answer. `turns`: (role, content) after the query."""
        opening = [("system", system_text(system, apis, self.api_format)), ("user", user_text(query))]
        return [*segments([*opening, *turns]), ASK]

    def prompt(self, system: str, query: str, apis: ApiList, turns: Sequence[tuple[str, str]], room: int) -> Ids | None:
        """Token ids of `prompt_segments`, at most `room` of them; None where they do not fit.

        The policy of the training rows, without their knowledge: which APIs the answer will use is not known here, so
        that none is dropped. `strict` and `truncate` have no way to shorten a prompt and keep its end.
        """
        parts = self.prompt_segments(system, query, apis, turns)
        ids = self._concatenate(parts)
        if len(ids) <= room:
            return ids
        if self.policy == "keep-target":
            cut = cut_middle(parts[:-1], self.tokens, room - 1 - len(self.tokens(ASK)))
            return None if cut is None else self._with_bos([cut, self.tokens(ASK)])
        if self.policy == "compact-apis":
            for shorter in compacted(apis.functions or (), used=None):
                ids = self._concatenate(self.prompt_segments(system, query, ApiList(shorter), turns))
                if len(ids) <= room:
                    return ids
        return None

    def _whole(self, conversation: Conversation, targets: frozenset[int], apis: ApiList | None = None) -> Fitted:
        parts = conversation_segments(conversation, self.api_format, apis)
        ids, learned, seen = [np.array([self.bos], dtype=np.int32)], [False], 0
        for part in parts:
            ids.append(self.tokens(part))
            learned.append(part.role == "assistant" and seen in targets)
            seen += part.role == "assistant"
        labels = [piece if learn else np.full_like(piece, IGNORED) for piece, learn in zip(ids, learned, strict=True)]
        return Fitted(np.concatenate(ids), np.concatenate(labels))

    def _truncate(self, conversation: Conversation, row: Fitted) -> Fitted | str:
        ids, labels = row.input_ids[: self.max_length], row.labels[: self.max_length]
        if not (labels != IGNORED).any():
            return "target-cut-away"
        return Fitted(ids, labels, target_cut=True, apis_lost=self._lost(conversation.apis, ids))

    def _keep_target(self, conversation: Conversation) -> Fitted | str:
        *prompt, ask, target = conversation_segments(conversation, self.api_format)
        tail = [self.tokens(ask), self.tokens(target)]
        cut = cut_middle(prompt, self.tokens, self.max_length - 1 - sum(map(len, tail)))
        if cut is None:
            return "target-does-not-fit"
        ids = self._with_bos([cut, *tail])
        labels = np.full_like(ids, IGNORED)
        labels[len(ids) - len(tail[1]) :] = tail[1]
        return Fitted(ids, labels, prompt_cut=True, apis_lost=self._lost(conversation.apis, cut))

    def _compact(self, conversation: Conversation, targets: frozenset[int]) -> Fitted | str:
        functions = conversation.apis.functions
        if functions is None:
            return "unreadable-api-list"
        for shorter in compacted(functions, used_apis(conversation)):
            row = self._whole(conversation, targets, ApiList(shorter))
            if len(row.input_ids) <= self.max_length:
                return replace(row, prompt_cut=True, apis_lost=len(functions) - len(shorter))
        return "too-long"

    def _lost(self, apis: ApiList, ids: Ids) -> int:
        """APIs whose entry no longer begins in these tokens."""
        text = self.decode(ids)
        shown = "'name': '{}'" if self.api_format == "toolbench" else "\n{}("
        return sum(shown.format(name) not in text for name in apis.names)

    def _concatenate(self, parts: Sequence[Segment]) -> Ids:
        return self._with_bos([self.tokens(part) for part in parts])

    def _with_bos(self, pieces: Sequence[Ids]) -> Ids:
        return np.concatenate([np.array([self.bos], dtype=np.int32), *pieces])


def cut_middle(prompt: Sequence[Segment], tokens: Tokens, room: int) -> Ids | None:
    """The prompt's tokens without a stretch in their middle, at most `room` of them.

    The first user segment (the query) is never cut; of all other tokens as many stay at the start as at the end
    (one more at the start where the number is odd). None where the query alone does not fit.
    """
    query = next(k for k, part in enumerate(prompt) if part.role == "user")
    pieces = [tokens(part) for part in prompt]
    free = np.concatenate([np.full(len(piece), k != query) for k, piece in enumerate(pieces)])
    keep = room - len(pieces[query])
    if keep < 0:
        return None
    loose = np.flatnonzero(free)
    start = -(-keep // 2)
    ids: Ids = np.concatenate(pieces)
    return np.delete(ids, loose[start : start + max(len(loose) - keep, 0)])


def used_apis(conversation: Conversation) -> frozenset[str]:
    """Names called in a conversation, its target's among them, and `Finish`."""
    said = (turn.content for turn in conversation.turns if turn.role == "assistant")
    return frozenset({"Finish", *(name.strip() for text in said for name in _ACTION.findall(text))})


def compacted(functions: Sequence[dict[str, Any]], used: frozenset[str] | None) -> Iterator[tuple[dict[str, Any], ...]]:
    """Ever shorter API lists: without example values; without descriptions too; then without one unused API after
    another, from the last. `used` None: it is not known which are used, and none is removed."""
    bare = tuple(_without(function, "example_value") for function in functions)
    yield bare
    bare = tuple(_without(function, "description") for function in bare)
    yield bare
    kept = list(bare)
    for function in reversed(bare) if used is not None else ():
        if str(function.get("name")) not in (used or ()):
            kept.remove(function)
            yield tuple(kept)


def _without(function: dict[str, Any], key: str) -> dict[str, Any]:
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
