"""A short list: one signature a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.data.conversations import ApiList


class SignatureFormat:
    """One line `name(parameter: type, …)` for each API."""

    def format_system_message(self, system: str, apis: ApiList) -> str:
        """Append a heading and the signatures."""
        return system + "\nAPIs:" + "".join(f"\n{format_signature(function)}" for function in apis.functions or ())

    def make_entry_prefix(self, name: str) -> str:
        """Return the beginning of a signature's line."""
        return f"\n{name}("


def format_signature(function: Mapping[str, Any]) -> str:
    """Return `name(parameter: type, …)` of an API schema. Unknown parts are left out.

    Example:
        >>> format_signature({"name": "book", "parameters": {"properties": {"city": {"type": "string"}}}})
        'book(city: string)'
    """
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties") or {}
    listed = ", ".join(f"{name}: {(schema or {}).get('type', 'any')}" for name, schema in properties.items())
    return f"{function.get('name')}({listed})"


API_FORMAT = SignatureFormat()
