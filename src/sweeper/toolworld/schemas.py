"""API schemas in ToolBench's format."""

from __future__ import annotations

from typing import Any, TypeAlias

from sweeper.toolworld.catalogue import Api

Document: TypeAlias = dict[str, Any]
"""A JSON object in one of ToolBench's formats."""


def describe_api(api: Api) -> str:
    """Describe an API in one sentence."""
    if api.takes_count:
        return f"The {api.field} of a number of one {api.kind}."
    return f"The {api.field} of one {api.kind}."


def make_api_schema(api: Api) -> Document:
    """Make an item of `answer_generation.function` (Qin et al. 2023, ToolBench commit d56fdd8)."""
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


def make_finish_schema() -> Document:
    """Make the schema of ToolBench's `Finish`, verbatim."""
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
