"""ToolBench's function names: from an API to its name, and back to the tools that a name can belong to."""

from __future__ import annotations

import re

_NON_WORD_CHARACTER = re.compile(r"[^0-9a-zA-Z_^\u4e00-\u9fa5]")
_RESERVED_WORDS = frozenset({"from", "class", "return", "false", "true", "id", "and"})
_TOOL_SEPARATOR = "_for_"
MAX_FUNCTION_NAME_LENGTH = 64
"""Names are cut to their last 64 characters, the limit of the OpenAI API."""


def standardize_name(name: str) -> str:
    """Return lower snake case, as ToolBench's `standardize`: single `_`, none at the ends, no leading digit."""
    text = re.sub(r"_+", "_", _NON_WORD_CHARACTER.sub("_", name)).lower().strip("_")
    return f"get_{text}" if text[:1].isdigit() else text


def standardize_api_name(name: str) -> str:
    """Return the standard name of an API or a parameter; reserved words get the prefix `is_`."""
    plain = standardize_name(name)
    return f"is_{plain}" if plain in _RESERVED_WORDS else plain


def make_function_name(api: str, tool: str) -> str:
    """Return `<api>_for_<tool>`, the name that the model sees."""
    return f"{standardize_api_name(api)}{_TOOL_SEPARATOR}{standardize_name(tool)}"[-MAX_FUNCTION_NAME_LENGTH:]


def find_candidate_tools(name: str) -> set[str]:
    """Return the standard names of the tools that a function name can belong to: what follows any `_for_` in it.

    There are several if `_for_` occurs in the name of the API or of the tool. A name truncated so far that no `_for_`
    is left is the end of its tool's name.
    """
    parts = name.split(_TOOL_SEPARATOR)
    return {_TOOL_SEPARATOR.join(parts[k:]) for k in range(1, len(parts))} or {name}
