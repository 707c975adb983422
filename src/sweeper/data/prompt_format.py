"""Conversation -> text segments. Training and evaluation both render prompts here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sweeper.data.api_formats.base import API_FORMATS
from sweeper.data.conversations import ApiList, Conversation

_ROLE_LABELS = {"system": "System", "user": "User", "function": "Function"}


@dataclass(frozen=True)
class Segment:
    """A piece of text that is tokenized on its own, so that no token straddles prompt and target."""

    text: str
    """The text."""
    role: str
    """The role of its turn; `ask` for the `Assistant:` that precedes an answer."""


def format_system_message(system: str, apis: ApiList, api_format: str) -> str:
    """Return the system message with its API list in a format of `data/api_formats/`.

    Raises:
        UsageError: an unknown format.
    """
    return API_FORMATS.load(api_format).format_system_message(system, apis)


def format_user_message(query: str) -> str:
    """Return ToolBench's user message of a query."""
    return f"\n{query}\nBegin!\n"


def make_segments(turns: Iterable[tuple[str, str]]) -> list[Segment]:
    """Split (role, content) turns into segments; an assistant's content is separate from its label."""
    segments = []
    for role, content in turns:
        if role == "assistant":
            segments += [Segment("Assistant:", "ask"), Segment(content, "assistant")]
        else:
            segments.append(Segment(f"{_ROLE_LABELS[role]}: {content}\n", role))
    return segments


def make_conversation_segments(
    conversation: Conversation, api_format: str, apis: ApiList | None = None
) -> list[Segment]:
    """Split a whole training example into segments; `apis` replaces the conversation's own list."""
    offered = conversation.apis if apis is None else apis
    turns = [
        (t.role, format_system_message(t.content, offered, api_format) if t.role == "system" else t.content)
        for t in conversation.turns
    ]
    return make_segments(turns)
