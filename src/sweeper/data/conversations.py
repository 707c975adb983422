"""The one conversation type that every reader ends in, and the counts of what did not become one."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "function"]


class ApiList:
    """The APIs offered in one conversation: schemas, and the Python text in which ToolBench shows them.

    Either is made from the other when first asked for: most readers know one, most users need one.
    """

    def __init__(self, functions: Iterable[dict[str, Any]] | None = None, *, text: str | None = None) -> None:
        self._functions = None if functions is None else tuple(functions)
        self._text = text

    @cached_property
    def text(self) -> str:
        """ToolBench's text: `str` of the list of schemas."""
        return self._text if self._text is not None else str(list(self._functions or ()))

    @cached_property
    def functions(self) -> tuple[dict[str, Any], ...] | None:
        """The schemas; None where the text is not a list of them. The text is parsed as literals, never run."""
        if self._functions is not None:
            return self._functions
        try:
            value = ast.literal_eval(str(self._text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            return None
        return tuple(value)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The APIs' names in order, `Finish` among them; empty where the list is not readable."""
        return tuple(str(function.get("name")) for function in self.functions or ())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiList) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"ApiList({self.text!r})"


@dataclass(frozen=True)
class Turn:
    """One message. An assistant's content is `\\nThought: …\\nAction: …\\nAction Input: …`."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """One training example: the last turn is the assistant's, and is to be learned.

    The system turn is without the API list, which `render` appends from `apis` in the format asked for.
    """

    id: str
    query: str
    turns: tuple[Turn, ...]
    apis: ApiList


@dataclass
class ReaderCounts:
    """What was read, and what was left out and why. `problems` name file, position and reason (the first hundred)."""

    files: int = 0
    conversations: int = 0
    valid_queries: int = 0
    invalid_queries: int = 0
    arguments_not_json: int = 0
    duplicate_ids: int = 0
    drop_counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    MAX_PROBLEMS = 100

    def record_drop(self, reason: str, location: str, detail: str) -> None:
        """Count something left out, and say where and why."""
        self.drop_counts[reason] += 1
        if len(self.problems) < self.MAX_PROBLEMS:
            self.problems.append(f"{location}: {detail}")
