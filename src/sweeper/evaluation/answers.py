"""Answers: what an agent did with a query. The answers of all systems are read into this type, and judged in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

FINISH = "Finish"
"""Name of the function that ends an answer."""
QueryKey = tuple[str, str]
"""(subset, query id)."""


class FunctionSchema(TypedDict):
    """An offered API as the agent sees it. Schemas are untrusted: only `name` is checked when they are read."""

    name: str
    description: NotRequired[object]
    parameters: NotRequired[object]


@dataclass(frozen=True)
class ToolCall:
    """One call of an answer."""

    name: str
    arguments: str
    """The text as written."""
    response: str
    """The text as returned; '' for `Finish`."""
    cut: bool = False
    """Whether the source kept only the beginning of this call: nothing can be said to be missing from it."""


@dataclass(frozen=True)
class Answer:
    """One answer to one query."""

    query_id: str
    subset: str
    query: str
    functions: tuple[FunctionSchema, ...]
    steps: tuple[str | ToolCall, ...]
    """Thoughts (texts) and calls in order, `Finish` included."""
    final_answer: str
    """Arguments, as text, of the `Finish` that ended the answer; '' where none did."""
    method: str = ""
    ended: str = "unknown"
    """`answered`, `gave-up`, `steps`, `tokens`, `context`, `unreachable` (the agent's endpoint or the environment) or
    `unknown`."""

    @property
    def key(self) -> QueryKey:
        """(subset, query id)."""
        return self.subset, self.query_id

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls, `Finish` included."""
        return tuple(step for step in self.steps if isinstance(step, ToolCall))
