"""`compact-apis`: shorten the API list: example values go first, then descriptions, then unused APIs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sweeper.data.conversations import ApiList, ApiSchema, Conversation
from sweeper.data.length_policies.base import DropReason, Prompt, TokenIds, TokenizedRow
from sweeper.data.length_policy import LengthLimiter

_ACTION_LINE = re.compile(r"\nAction: ([^\n]*)")


class CompactApis:
    """Shortens the API list as far as needed; drops an example that is too long with the shortest one."""

    def shorten_example(
        self, limiter: LengthLimiter, conversation: Conversation, target_turns: frozenset[int], row: TokenizedRow
    ) -> TokenizedRow | DropReason:
        """Try ever shorter API lists; the APIs that the conversation uses stay."""
        functions = conversation.apis.functions
        if functions is None:
            return "unreadable-api-list"
        for shorter in compact_api_lists(functions, find_used_apis(conversation)):
            candidate = limiter.tokenize_conversation(conversation, target_turns, ApiList(shorter))
            if len(candidate.input_ids) <= limiter.max_length:
                return replace(candidate, is_prompt_cut=True, lost_apis=len(functions) - len(shorter))
        return "too-long"

    def shorten_prompt(self, limiter: LengthLimiter, prompt: Prompt, max_tokens: int) -> TokenIds | None:
        """Remove example values and descriptions; no API, since the answer is unknown."""
        for shorter in compact_api_lists(prompt.apis.functions or (), used_names=None):
            ids = limiter.tokenize_prompt(replace(prompt, apis=ApiList(shorter)))
            if len(ids) <= max_tokens:
                return ids
        return None


def find_used_apis(conversation: Conversation) -> frozenset[str]:
    """Return the names called in a conversation, its target included, and `Finish`."""
    answers = (turn.content for turn in conversation.turns if turn.role == "assistant")
    return frozenset({"Finish", *(name.strip() for text in answers for name in _ACTION_LINE.findall(text))})


def compact_api_lists(
    functions: Sequence[ApiSchema], used_names: frozenset[str] | None
) -> Iterator[tuple[ApiSchema, ...]]:
    """Yield ever shorter API lists: without example values, without descriptions, then without one unused API after
    another, from the last.

    Args:
        used_names: names of the APIs that stay; None where they are unknown, and all stay.
    """
    bare = tuple(_remove_key(function, "example_value") for function in functions)
    yield bare
    bare = tuple(_remove_key(function, "description") for function in bare)
    yield bare
    if used_names is None:
        return
    kept = list(bare)
    for function in reversed(bare):
        if str(function.get("name")) not in used_names:
            kept.remove(function)
            yield tuple(kept)


def _remove_key(function: ApiSchema, key: str) -> ApiSchema:
    """Return a schema without `key`, its own and its parameters'. A parameter that has this name stays."""
    slim = {name: value for name, value in function.items() if name != key}
    parameters = slim.get("parameters")
    if isinstance(parameters, dict) and isinstance(parameters.get("properties"), dict):
        properties = {
            name: {k: v for k, v in schema.items() if k != key} if isinstance(schema, dict) else schema
            for name, schema in parameters["properties"].items()
        }
        slim["parameters"] = {**parameters, "properties": properties}
    return slim


POLICY = CompactApis()
