"""Conversations -> rows of token ids and labels. Nothing is cut; what is dropped is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.data.conversations import Conversation, Counts
from sweeper.data.render import conversation_segments, encode_texts

IGNORED = -100
"""Label of a position without loss."""


@dataclass(frozen=True)
class Folded:
    """One row: a conversation, and the indices of the assistant turns (counted among assistant turns) to learn."""

    conversation: Conversation
    targets: frozenset[int]


def fold(conversations: Sequence[Conversation], *, fold_steps: bool) -> list[Folded]:
    """Rows of neighbouring examples of one query. Without folding, one row each, its last assistant turn learned.

    With it, an example whose turns begin a later one of the same query and APIs joins that row. Under causal
    attention a target's prediction sees only what stands before it, so each target's loss is the same either way.
    """
    rows: list[Folded] = []
    for conversation in conversations:
        target = sum(turn.role == "assistant" for turn in conversation.turns) - 1
        joined = rows[-1] if rows else None
        if fold_steps and joined is not None and _begins(joined.conversation, conversation):
            rows[-1] = Folded(conversation, joined.targets | {target})
        else:
            rows.append(Folded(conversation, frozenset({target})))
    return rows


def _begins(first: Conversation, whole: Conversation) -> bool:
    return (
        first.query == whole.query
        and len(first.turns) < len(whole.turns)
        and whole.turns[: len(first.turns)] == first.turns
        and first.functions == whole.functions
    )


def encode(
    rows: Sequence[Folded], tokenizer: Any, api_format: str, max_length: int, counts: Counts
) -> dict[str, list[Any]]:
    """Columns `input_ids`, `labels` (IGNORED but on targets and their end token), `length`, `target_tokens`.

    A row longer than `max_length` tokens is dropped and counted as `too-long`, one count for each target in it.
    """
    parts = [conversation_segments(row.conversation, api_format) for row in rows]
    encoded = iter(encode_texts(tokenizer, [segment.text for segments in parts for segment in segments]))
    columns: dict[str, list[Any]] = {"input_ids": [], "labels": [], "length": [], "target_tokens": []}
    for row, segments in zip(rows, parts, strict=True):
        ids, labels, seen = [tokenizer.bos_token_id], [IGNORED], 0
        for segment in segments:
            piece = next(encoded)
            if segment.assistant:
                piece = [*piece, tokenizer.eos_token_id]
            learned = segment.assistant and seen in row.targets
            seen += segment.assistant
            ids += piece
            labels += piece if learned else [IGNORED] * len(piece)
        if len(ids) > max_length:
            counts.dropped["too-long"] += len(row.targets)
            continue
        values = {
            "input_ids": ids,
            "labels": labels,
            "length": len(ids),
            "target_tokens": sum(x != IGNORED for x in labels),
        }
        for name, value in values.items():
            columns[name].append(value)
    return columns
