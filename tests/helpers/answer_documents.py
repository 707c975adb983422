"""Answers made up for tests: one by hand, and any by hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from sweeper.evaluation.answers import FINISH, Answer, ToolCall

FUNCTIONS: tuple[dict[str, Any], ...] = (
    {
        "name": "price_for_shop",
        "description": 'The "price".',
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string"}, "count": {"type": "integer"}, "new": {"type": "boolean"}},
            "required": ["item", ""],
            "optional": ["count"],
        },
    },
    {
        "name": FINISH,
        "parameters": {
            "type": "object",
            "properties": {
                "return_type": {"type": "string", "enum": ["give_answer", "give_up_and_restart"]},
                "final_answer": {"type": "string"},
            },
            "required": ["return_type"],
        },
    },
)


def finish(text: str, kind: str = "give_answer") -> str:
    return json.dumps({"return_type": kind, "final_answer": text})


def seen(response: Any, error: str = "") -> str:
    return json.dumps({"error": error, "response": response})


def answer(*calls: ToolCall, final: str = finish("The Blue Lamp costs 41.50 euros."), **changes: Any) -> Answer:
    """A good answer: a thought, one call (or those given), and `Finish`."""
    made = calls or (ToolCall("price_for_shop", '{"item": "lamp"}', seen("Blue Lamp: 41.5 EUR")),)
    ends = (ToolCall(FINISH, final, ""),) if final else ()
    given = {
        "query_id": "7",
        "subset": "G1_tool",
        "query": "What does it cost?",
        "functions": FUNCTIONS,
        "steps": ("First I'll ask.", *made, *ends),
        "final_answer": final,
        "method": "CoT@1",
        "ended": "answered" if final else "unknown",
    }
    return Answer(**{**given, **changes})


_TEXT = st.text(max_size=30) | st.text("'\"\\\n{}x0,: u\0é😀", max_size=30)
_NAME = st.text(min_size=1, max_size=12)


@st.composite
def answers(draw: st.DrawFn, cut: bool = False) -> Answer:
    """Any answer. With `cut`, of some calls only the beginning."""
    steps: list[str | ToolCall] = []
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            steps.append(draw(_TEXT))
            continue
        name = draw(_NAME | st.just(FINISH))
        response = "" if name == FINISH else draw(_TEXT)
        steps.append(ToolCall(name, draw(_TEXT), response, cut=cut and draw(st.booleans())))
    functions = draw(st.lists(st.fixed_dictionaries({"name": _NAME, "parameters": st.just({})}), max_size=2))
    return Answer(
        query_id=draw(st.integers(0, 10**6).map(str)),
        subset=draw(st.sampled_from(["G1_tool", "G2_category"])),
        query=draw(_TEXT),
        functions=tuple(functions),
        steps=tuple(steps),
        final_answer=draw(st.just("") | _TEXT | _TEXT.map(finish)),
        method=draw(_TEXT),
        ended=draw(st.sampled_from(["answered", "gave-up", "steps", "tokens", "context", "unknown"])),
    )
