"""Conversation -> text segments. The one renderer, for training and evaluation alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sweeper.data.conversations import ApiList, Conversation

API_MARKER = "\nSpecifically, you have access to the following APIs: "
"""ToolBench's sentence between the system message and the API list."""

_ROLE_LABELS = {"system": "System", "user": "User", "assistant": "Assistant", "function": "Function"}


@dataclass(frozen=True)
class Segment:
    """A stretch of text tokenised on its own, so that no token straddles prompt and target.

    `role` is whose words they are; the `Assistant:` that asks for an answer is `ask`.
    """

    text: str
    role: str


def format_system_message(system: str, apis: ApiList, api_format: str) -> str:
    """The system message with its API list: ToolBench's Python text of the schemas, or one signature a line."""
    if api_format == "toolbench":
        return f"{system}{API_MARKER}{apis.text}"
    return system + "\nAPIs:" + "".join(f"\n{format_signature(function)}" for function in apis.functions or ())


def format_signature(function: dict[str, Any]) -> str:
    """`name(parameter: type, …)` of an API schema; unknown parts are left out."""
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties") or {}
    listed = ", ".join(f"{name}: {(spec or {}).get('type', 'any')}" for name, spec in properties.items())
    return f"{function.get('name')}({listed})"


def format_user_message(query: str) -> str:
    """ToolBench's user message of a query."""
    return f"\n{query}\nBegin!\n"


def make_segments(turns: Iterable[tuple[str, str]]) -> list[Segment]:
    """Segments of (role, content) turns. An assistant's content is one of its own, after the role's."""
    found = []
    for role, content in turns:
        if role == "assistant":
            found += [Segment("Assistant:", "ask"), Segment(content, "assistant")]
        else:
            found.append(Segment(f"{_ROLE_LABELS[role]}: {content}\n", role))
    return found


def make_conversation_segments(
    conversation: Conversation, api_format: str, apis: ApiList | None = None
) -> list[Segment]:
    """Segments of a whole training example; `apis` stands in for the conversation's own list."""
    offered = conversation.apis if apis is None else apis
    turns = [
        (t.role, format_system_message(t.content, offered, api_format) if t.role == "system" else t.content)
        for t in conversation.turns
    ]
    return make_segments(turns)
