"""One signature a line."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.data.api_formats.signature import API_FORMAT, format_signature
from sweeper.data.conversations import ApiList


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            {"name": "f", "parameters": {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}},
            "f(a: string, b: integer)",
        ),
        ({"name": "f"}, "f()"),
        ({"name": "f", "parameters": None}, "f()"),
        ({"name": "f", "parameters": {"properties": None}}, "f()"),
        ({"name": "f", "parameters": {"properties": {"a": {}, "b": None}}}, "f(a: any, b: any)"),
    ],
)
def test_format_signature_leaves_out_what_is_unknown(function: dict[str, Any], expected: str) -> None:
    assert format_signature(function) == expected


def test_signature_format_lists_one_api_a_line() -> None:
    apis = ApiList([{"name": "f"}, {"name": "g"}])
    assert API_FORMAT.format_system_message("s", apis) == "s\nAPIs:\nf()\ng()"
    assert API_FORMAT.format_system_message("s", ApiList(text="unreadable")) == "s\nAPIs:"
