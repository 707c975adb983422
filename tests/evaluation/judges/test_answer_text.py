from __future__ import annotations

import json

import pytest
from answer_documents import finish

from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges._answer_text import (
    MAX_SHOWN_CHARACTERS,
    extract_final_text,
    format_answer,
    format_steps,
    format_tools,
    has_given_up,
)


def make_answer(final: str, *steps: str | ToolCall, ended: str = "answered") -> Answer:
    functions = ({"name": "get_price"}, {"name": FINISH})
    return Answer("1", "G1_tool", "How much?", functions, steps, final, ended=ended)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("final", "text"),
    [
        (finish("41.50"), "41.50"),
        ('{"return_type": "give_answer"}', ""),
        ('{"final_answer": {"price": 3}}', '{"price": 3}'),
        ("  just text ", "just text"),
        ('["a list"]', '["a list"]'),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
    ids=["answer", "none", "object", "text", "list", "nested", "empty"],
)
def test_extract_final_text_reads_any_text(final: str, text: str) -> None:
    assert extract_final_text(make_answer(final)) == text


def test_answer_that_gave_up_has_no_text() -> None:
    assert has_given_up(make_answer('{"return_type": "give_up_and_restart", "final_answer": "x"}'))
    assert extract_final_text(make_answer(finish("x"), ended="gave-up")) == ""


def test_long_texts_are_cut_with_the_number_of_characters_left() -> None:
    call = ToolCall("get_price", "{}", "x" * (MAX_SHOWN_CHARACTERS + 5), cut=True)
    thought, shown = json.loads(format_steps(make_answer("", "why", call)))
    assert thought == {"thought": "why"}
    assert shown["response"] == "x" * MAX_SHOWN_CHARACTERS + " [5 more characters]"
    assert shown["cut"] is True


def test_tools_leave_out_finish_and_answers_hold_their_steps() -> None:
    answer = make_answer(finish("3"), "why")
    assert json.loads(format_tools(answer)) == [{"name": "get_price"}]
    assert json.loads(format_answer(answer)) == {"final_answer": "3", "steps": [{"thought": "why"}]}
