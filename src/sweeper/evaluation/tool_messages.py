"""Texts of ToolBench's tool nodes <-> calls.

Nothing in a text is executed: of Python's syntax only literals of bounded length are parsed.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping

from sweeper.data.schema_checks import SchemaMismatchError, require_field
from sweeper.evaluation.answers import ToolCall

MAX_MESSAGE_CHARACTERS = 1_000_000
"""Longer messages are rejected: no agent wrote them."""

MAX_LITERAL_CHARACTERS = 100_000
"""Longer texts are not passed to Python's parser. Our own parser, of flat dicts of texts, reads most messages."""

_KEY_PREFIXES = ("{'name': ", ", 'arguments': ", ", 'response': ")
_QUOTED_TEXT_PATTERNS = {
    quote: re.compile(rf"{quote}((?:[^{quote}\\]++|\\.)*+)({quote}?)", re.DOTALL) for quote in "'\""
}
_HEX = "[0-9a-fA-F]"
_ESCAPE_PATTERN = re.compile(
    rf"\\(?:x({_HEX}{{2}})|u({_HEX}{{4}})|U({_HEX}{{8}})|(x{_HEX}?|u{_HEX}{{0,3}}|U{_HEX}{{0,7}})\Z|(.))", re.DOTALL
)
_SIMPLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def make_tool_message(call: ToolCall) -> str:
    """Make a tool node's message: a Python dict as text, without its end where the source cut the call."""
    whole = str({"name": call.name, "arguments": call.arguments, "response": call.response})
    if not call.cut:
        return whole
    fields = {"name": call.name}
    if call.arguments or call.response:
        fields["arguments"] = call.arguments
    if call.response:
        fields["response"] = call.response
    return str(fields)[: -len("'}")]


def parse_tool_message(text: str) -> ToolCall:
    """Parse a tool node's message, as far as it goes. Raises SchemaMismatchError where there is no name."""
    values, end, is_usual = _parse_flat_dict(text)
    if len(values) == len(_KEY_PREFIXES) and text[end:] == "}":
        return ToolCall(values[0], values[1], values[2])
    whole = None if is_usual else _parse_dict_literal(text)
    if whole is not None:
        return make_tool_call(whole)
    if not values:
        raise SchemaMismatchError(f"a tool node's message is not a call: {text[:60]!r}")
    if not is_usual and len(values) == 1:
        values.append(text[end:])
    name, arguments, response = [*values, "", ""][:3]
    return ToolCall(name, arguments, response, cut=True)


def _parse_flat_dict(text: str) -> tuple[list[str], int, bool]:
    """Parse the usual spelling, which may be cut anywhere.

    Returns:
        The values as far as they go, where parsing ended, and whether everything up to there has the usual spelling.
    """
    values: list[str] = []
    at = 0
    for prefix in _KEY_PREFIXES:
        if not text.startswith(prefix, at):
            return values, at, at > 0 and prefix.startswith(text[at : at + len(prefix)])
        at += len(prefix)
        if at == len(text):
            break
        value = _QUOTED_TEXT_PATTERNS[text[at]].match(text, at) if text[at] in _QUOTED_TEXT_PATTERNS else None
        if value is None:
            return values, at, False
        values.append(_ESCAPE_PATTERN.sub(_decode_escape, value[1]))
        at = value.end()
        if not value[2]:
            break
    return values, at, True


def make_tool_call(message: Mapping[str, object]) -> ToolCall:
    """Make the call of a tool node's message that is an object. Raises SchemaMismatchError."""
    name = require_field(message, "name", str, "a tool node's message")
    arguments, response = (
        check_text_length(convert_to_text(message.get(key)), f"a call's {key}") for key in ("arguments", "response")
    )
    return ToolCall(name, arguments, response)


def convert_to_text(value: object) -> str:
    """Return texts unchanged, None as '', and anything else as JSON. Raises SchemaMismatchError."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaMismatchError(f"a {type(value).__name__} where text was expected") from error


def check_text_length(text: str, where: str) -> str:
    """Return `text` if it is short enough. Raises SchemaMismatchError."""
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise SchemaMismatchError(f"{where} has {len(text):,} characters, over {MAX_MESSAGE_CHARACTERS:,}")
    return text


def _parse_dict_literal(text: str) -> dict[str, object] | None:
    """Parse a dict literal in an unusual spelling; None where it is not one or is too long."""
    if len(text) > MAX_LITERAL_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unknown escape sequences
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("name"), str) else None


def _decode_escape(match: re.Match[str]) -> str:
    """Return the character of one escape sequence; '' for one that was cut."""
    code = match[1] or match[2] or match[3]
    if code:
        number = int(code, 16)
        return chr(number) if number < 0xD800 or 0xDFFF < number <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
    if match[4]:
        return ""
    return _SIMPLE_ESCAPES.get(match[5], match[0])
