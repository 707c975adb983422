"""Answers as text for the prompts of the judge `llm`."""

from __future__ import annotations

import json

from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.toolbench_format import GIVE_UP

MAX_SHOWN_CHARACTERS = 4096
"""Characters of a thought, of arguments or of a response that the model is shown; ToolBench's own responses fit."""


def extract_final_text(answer: Answer) -> str:
    """Return the text of the final answer; '' where there is none or the answer gave up (ToolEval's rule for both)."""
    text = answer.final_answer.strip()
    if has_given_up(answer):
        return ""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(document, dict) and ("final_answer" in document or "return_type" in document):
        inner = document.get("final_answer")
        return inner.strip() if isinstance(inner, str) else "" if inner is None else json.dumps(inner)
    return text


def has_given_up(answer: Answer) -> bool:
    """Return whether the agent ended with `give_up_and_restart`."""
    return answer.ended == "gave-up" or GIVE_UP in answer.final_answer


def format_steps(answer: Answer) -> str:
    """Format the thoughts and calls as JSON."""
    return _format_json([_describe_step(step) for step in answer.steps])


def format_answer(answer: Answer) -> str:
    """Format the final answer and the steps as JSON."""
    return _format_json(
        {"final_answer": extract_final_text(answer), "steps": [_describe_step(step) for step in answer.steps]}
    )


def _describe_step(step: str | ToolCall) -> dict[str, object]:
    if isinstance(step, str):
        return {"thought": _truncate_text(step)}
    call = {"call": step.name, "arguments": _truncate_text(step.arguments), "response": _truncate_text(step.response)}
    return call | ({"cut": True} if step.cut else {})


def format_tools(answer: Answer) -> str:
    """Format the schemas of the offered APIs, without `Finish`, as JSON."""
    return _format_json([function for function in answer.functions if function.get("name") != FINISH])


def _truncate_text(text: str) -> str:
    left = len(text) - MAX_SHOWN_CHARACTERS
    return text if left <= 0 else f"{text[:MAX_SHOWN_CHARACTERS]} [{left} more characters]"


def _format_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
