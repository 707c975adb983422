"""Replies of language models as judges: reasoning and fences around the JSON object that was asked for."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from sweeper.evaluation.action import remove_reasoning
from sweeper.storage import JsonTextError, parse_json

S = TypeVar("S", bound=BaseModel)
_FENCE_PATTERN = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL | re.IGNORECASE)


def parse_reply(text: str, reply_type: type[S]) -> S:
    """Parse a reply: what follows a block of reasoning, and of that the last fenced block, if there is one.

    Args:
        text: the reply.
        reply_type: what the prompt asks for.

    Returns:
        The reply.

    Raises:
        ValidationError: it is not the JSON object that the prompt asks for, or has a key twice.

    Example:
        >>> class Verdict(BaseModel):
        ...     status: str
        >>> parse_reply('<think>Hm.</think> {"status": "solved"}', Verdict).status
        'solved'
    """
    answer = remove_reasoning(text).strip()
    fenced = _FENCE_PATTERN.findall(answer)
    document = fenced[-1] if fenced else answer
    try:
        parse_json(document, unique_keys=True)
    except JsonTextError as error:
        problem = PydanticCustomError("not_json", "Invalid JSON: {reason}", {"reason": str(error)})
        raise ValidationError.from_exception_data(
            reply_type.__name__, [{"type": problem, "input": document}]
        ) from error
    return reply_type.model_validate_json(document)


def describe_validation_error(error: ValidationError) -> str:
    """Describe the first problem of a reply in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join((*map(str, first["loc"]), first["msg"]))
