"""How ToolBench names an API to the model, and back from that name to the tools it can belong to."""

from __future__ import annotations

import re

_NOT_A_WORD = re.compile(r"[^0-9a-zA-Z_^\u4e00-\u9fa5]")
_RESERVED = frozenset({"from", "class", "return", "false", "true", "id", "and"})
_JOINT = "_for_"
LONGEST = 64
"""Names are cut to their last 64 characters: what the OpenAI API allowed."""


def standardize(name: str) -> str:
    """Lower snake case, as ToolBench's `standardize`: runs of `_` are one, none at the ends, no leading digit."""
    text = re.sub(r"_+", "_", _NOT_A_WORD.sub("_", name)).lower().strip("_")
    return f"get_{text}" if text[:1].isdigit() else text


def api_name(name: str) -> str:
    """The standard form of an API's or a parameter's name; reserved words are prefixed `is_`."""
    plain = standardize(name)
    return f"is_{plain}" if plain in _RESERVED else plain


def function_name(api: str, tool: str) -> str:
    """`<api>_for_<tool>`, as the model sees it."""
    return f"{api_name(api)}{_JOINT}{standardize(tool)}"[-LONGEST:]


def possible_tools(name: str) -> set[str]:
    """Standard names of the tools a function name can belong to: what follows any `_for_` in it.

    More than one where API or tool have `_for_` in their own names. A name cut so short that no `_for_` is left is
    itself the end of its tool's name.
    """
    parts = name.split(_JOINT)
    return {_JOINT.join(parts[k:]) for k in range(1, len(parts))} or {name}
