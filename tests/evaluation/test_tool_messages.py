"""Texts of tool nodes: parsed as far as they go, and never executed."""

from __future__ import annotations

import pytest
from answer_documents import answers
from hypothesis import given

from sweeper.data.schema_checks import SchemaMismatchError
from sweeper.evaluation.answers import Answer, ToolCall
from sweeper.evaluation.tool_messages import convert_to_text, make_tool_message, parse_tool_message


@given(answers())
def test_parse_tool_message_reads_cut_messages(one: Answer) -> None:
    for call in one.calls:
        whole = make_tool_message(call)
        assert parse_tool_message(whole) == call
        for kept in range(len("{'name': '"), len(whole)):
            part = parse_tool_message(whole[:kept])
            assert part.cut
            assert call.name.startswith(part.name)
            assert call.arguments.startswith(part.arguments)
            assert call.response.startswith(part.response)


def test_parse_tool_message_accepts_unusual_spellings() -> None:
    for text in ('{"name": "f", "arguments": "{}", "response": "r"}', "{'response':'r','name':'f','arguments':'{}'}"):
        assert parse_tool_message(text) == ToolCall("f", "{}", "r")
    assert parse_tool_message("{'name': 'f', 'arguments': {'x': 1}, 'response': 2}") == ToolCall("f", '{"x": 1}', "2")
    assert parse_tool_message("{'name': 'f', 'arguments': {'x': 1, ") == ToolCall("f", "{'x': 1, ", "", cut=True)


@pytest.mark.parametrize("nest", ["[" * 50_000, "-" * 50_000 + "1", "{1:" * 5_000, "(" * 150 + ")" * 150, "1+" * 9_000])
def test_parse_tool_message_survives_deep_literals(nest: str) -> None:
    assert parse_tool_message(f"{{'name': 'f', 'arguments': {nest}").name == "f"
    with pytest.raises(SchemaMismatchError):
        parse_tool_message(nest)


def test_parse_tool_message_replaces_lone_surrogates() -> None:
    assert parse_tool_message(r"{'name': 'f', 'arguments': '\ud83d', 'response': '\U00110000'}").arguments == "\ufffd"


def test_convert_to_text() -> None:
    assert [convert_to_text(value) for value in ("é", None, {"é": [1]})] == ["é", "", '{"é": [1]}']
    with pytest.raises(SchemaMismatchError, match="set"):
        convert_to_text({1})
