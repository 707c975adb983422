"""ToolBench's own list."""

from __future__ import annotations

from sweeper.data.api_formats.toolbench import API_FORMAT
from sweeper.data.conversations import ApiList


def test_toolbench_format_appends_its_sentence_and_the_schemas_as_python_text() -> None:
    apis = ApiList([{"name": "f", "required": []}])
    assert API_FORMAT.format_system_message("s", apis) == (
        "s\nSpecifically, you have access to the following APIs: [{'name': 'f', 'required': []}]"
    )


def test_toolbench_format_keeps_an_unreadable_list_verbatim() -> None:
    assert API_FORMAT.format_system_message("s", ApiList(text="[{'name")).endswith("APIs: [{'name")
