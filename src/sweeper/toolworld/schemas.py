"""API schemas as ToolBench shows them to a model."""

from __future__ import annotations

from typing import Any

from sweeper.toolworld.catalogue import Api


def describe_api(api: Api) -> str:
    """One sentence on what an API does."""
    if api.takes_count:
        return f"The {api.field} of a number of one {api.kind}."
    return f"The {api.field} of one {api.kind}."


def make_api_schema(api: Api) -> dict[str, Any]:
    """An item of `answer_generation.function` (Qin et al. 2023, ToolBench commit d56fdd8)."""
    return {
        "name": api.name,
        "description": f'This is the subfunction for tool "{api.tool}", you can use this tool.'
        f'The description of this function is: "{describe_api(api)}"',
        "parameters": {
            "type": "object",
            "properties": {
                p.name: {"type": p.type, "description": "", "example_value": p.example} for p in api.parameters
            },
            "required": [p.name for p in api.parameters],
            "optional": [],
        },
    }


def make_finish_schema() -> dict[str, Any]:
    """ToolBench's `Finish`, word for word."""
    return {
        "name": "Finish",
        "description": "If you think you get the result which can answer the task, call this function to give the "
        "final answer. Or, if you think you can't handle the task from this status, call this function to restart. "
        "Remember: you should ALWAYS call this function at the end of your try, and the final answer is the ONLY part "
        "that will be showed to user, so final answer should contain enough information.",
        "parameters": {
            "type": "object",
            "properties": {
                "return_type": {"type": "string", "enum": ["give_answer", "give_up_and_restart"]},
                "final_answer": {
                    "type": "string",
                    "description": "The final answer you want to give the user. You should have this field if "
                    '"return_type"=="give_answer"',
                },
            },
            "required": ["return_type"],
        },
    }
