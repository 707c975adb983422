"""Four answers and the votes of two judges on them."""

from __future__ import annotations

from typing import Any

from sweeper.evaluation.answers import Answer, ToolCall
from sweeper.evaluation.judges import Vote

FINISH = ToolCall("Finish", '{"return_type": "give_answer", "final_answer": "x"}', "")


def answer(number: int, subset: str = "G1_tool", finished: bool = True) -> Answer:
    steps = (FINISH,) if finished else ()
    return Answer(str(number), subset, "q", (), steps, FINISH.arguments if finished else "")


def votes(judge: str, *statuses: str | None, **rules: bool | None) -> list[Vote]:
    return [Vote(judge, k, status, "why", None, rules) for k, status in enumerate(statuses)]  # type: ignore[arg-type]


ANSWERS = [answer(1), answer(2), answer(3, "G3_instruction"), answer(4, "G3_instruction", finished=False)]
JUDGED: dict[str, Any] = {
    "rules": [
        votes("rules", "solved", grounded=True),
        votes("rules", "unsure", grounded=None),
        votes("rules", "solved", grounded=True),
        votes("rules", "unsolved", grounded=False),
    ],
    "llm": [
        votes("llm", "solved", "solved", "unsure"),
        votes("llm", "unsolved", "unsolved", "solved"),
        votes("llm", None, None, None),
        votes("llm", "unsolved", "unsolved", "unsolved"),
    ],
}
