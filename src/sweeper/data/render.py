"""Conversation -> text segments -> token ids. The one renderer, for training and evaluation alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.data.conversations import Conversation

_ROLE = {"system": "System", "user": "User", "assistant": "Assistant", "function": "Function"}


@dataclass(frozen=True)
class Segment:
    """A stretch of text tokenised on its own, so that no token straddles prompt and target."""

    text: str
    assistant: bool


def system_text(system: str, functions: Iterable[dict[str, Any]], api_format: str) -> str:
    """The system message with its API list: ToolBench's Python text of the schemas, or one signature a line."""
    functions = list(functions)
    if api_format == "toolbench":
        return f"{system}\nSpecifically, you have access to the following APIs: {functions}"
    return system + "\nAPIs:" + "".join(f"\n{signature(function)}" for function in functions)


def signature(function: dict[str, Any]) -> str:
    """`name(parameter: type, …)` of an API schema; unknown parts are left out."""
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties") or {}
    listed = ", ".join(f"{name}: {(spec or {}).get('type', 'any')}" for name, spec in properties.items())
    return f"{function.get('name')}({listed})"


def user_text(query: str) -> str:
    """ToolBench's user message of a query."""
    return f"\n{query}\nBegin!\n"


def segments(turns: Iterable[tuple[str, str]]) -> list[Segment]:
    """Segments of (role, content) turns. An assistant's content is one of its own, after the role's."""
    found = []
    for role, content in turns:
        if role == "assistant":
            found += [Segment("Assistant:", False), Segment(content, True)]
        else:
            found.append(Segment(f"{_ROLE[role]}: {content}\n", False))
    return found


def conversation_segments(conversation: Conversation, api_format: str) -> list[Segment]:
    """Segments of a whole training example."""
    turns = [
        (t.role, system_text(t.content, conversation.functions, api_format) if t.role == "system" else t.content)
        for t in conversation.turns
    ]
    return segments(turns)


def prompt_ids(
    tokenizer: Any,
    system: str,
    query: str,
    functions: Sequence[dict[str, Any]],
    api_format: str,
    turns: Sequence[tuple[str, str]],
) -> list[int]:
    """Token ids up to where the model is to answer: system message, query, the turns so far, `Assistant:`."""
    opening = [("system", system_text(system, functions, api_format)), ("user", user_text(query))]
    parts = [*segments([*opening, *turns]), Segment("Assistant:", False)]
    ids = [tokenizer.bos_token_id]
    for part, encoded in zip(parts, encode_texts(tokenizer, [part.text for part in parts]), strict=True):
        ids += [*encoded, tokenizer.eos_token_id] if part.assistant else encoded
    return ids


def encode_texts(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of each text alone. OPT's tokeniser would put its `</s>` before every one: not here."""
    return list(tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]) if texts else []
