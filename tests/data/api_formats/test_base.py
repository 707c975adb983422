"""What every API format has in common."""

from __future__ import annotations

import pytest
from tool_conversations import make_api

from sweeper.data.api_formats.base import API_FORMATS
from sweeper.data.conversations import ApiList
from sweeper.data.prompt_format import format_system_message
from sweeper.errors import UsageError

APIS = ApiList([make_api("book"), make_api("cancel"), make_api("Finish")])


@pytest.mark.parametrize("name", API_FORMATS.names)
def test_format_begins_each_entry_with_its_prefix(name: str) -> None:
    api_format = API_FORMATS.load(name)
    text = api_format.format_system_message("be good", APIS)
    assert text.startswith("be good\n")
    assert [text.count(api_format.make_entry_prefix(api)) for api in APIS.names] == [1, 1, 1]
    assert api_format.make_entry_prefix("other") not in text
    assert format_system_message("be good", APIS, name) == text


def test_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="signature, toolbench"):
        format_system_message("s", APIS, "signatures")
