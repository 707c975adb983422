from __future__ import annotations

from sweeper.evaluation.answers import FINISH, Answer, ToolCall


def test_calls_are_the_steps_that_are_no_thoughts() -> None:
    first, last = ToolCall("get_price", "{}", "3"), ToolCall(FINISH, "{}", "")
    answer = Answer("7", "G1_tool", "How much?", (), ("I look it up.", first, last), "{}")
    assert answer.calls == (first, last)
    assert answer.key == ("G1_tool", "7")
    assert (answer.ended, answer.method) == ("unknown", "")
