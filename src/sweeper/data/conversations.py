"""The conversation type that every reader produces, and the counts of what was left out."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

ReaderDropReason = Literal["not-json", "unreadable-file", "wrong-shape", "no-target", "damaged-file"]
"""Why a reader leaves something out."""
Role = Literal["system", "user", "assistant", "function"]
ApiSchema = dict[str, Any]
"""One API as a JSON schema of a function."""


class ApiList:
    """The APIs offered in one conversation: schemas, and the Python text in which ToolBench shows them.

    Each is derived from the other on first use, since most readers provide one and most callers need one.
    """

    def __init__(self, functions: Iterable[ApiSchema] | None = None, *, text: str | None = None) -> None:
        self._functions = None if functions is None else tuple(functions)
        self._text = text

    @cached_property
    def text(self) -> str:
        """ToolBench's text: `str` of the list of schemas."""
        return self._text if self._text is not None else str(list(self._functions or ()))

    @cached_property
    def functions(self) -> tuple[ApiSchema, ...] | None:
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
        """Names of the APIs in order, `Finish` included; empty where the list is unreadable."""
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
    """One training example. Its last turn is the assistant's, and is the target."""

    id: str
    """Name of the example."""
    query: str
    """The user's query."""
    turns: tuple[Turn, ...]
    """All turns. The system turn has no API list: `prompt_format` appends it in the configured format."""
    apis: ApiList
    """The APIs on offer."""


@dataclass
class ReaderCounts:
    """What was read, and what was left out and why."""

    files: int = 0
    conversations: int = 0
    valid_queries: int = 0
    invalid_queries: int = 0
    """Queries whose answers are all marked invalid."""
    arguments_not_json: int = 0
    """Targets whose arguments are not JSON; they are kept."""
    duplicate_ids: int = 0
    untrained_turns: int = 0
    """Earlier assistant's turns of rows that no other row has as its target: they are read as context only."""
    replaced_characters: int = 0
    """Halves of characters that were replaced by U+FFFD."""
    drop_counts: Counter[str] = field(default_factory=Counter)
    """Reason -> what was left out for it."""
    problems: list[str] = field(default_factory=list)
    """File, position and reason of what was left out (the first hundred)."""

    MAX_PROBLEMS = 100

    def record_drop(self, reason: ReaderDropReason, location: str, detail: str) -> None:
        """Count something left out, with its location and the reason."""
        self.drop_counts[reason] += 1
        if len(self.problems) < self.MAX_PROBLEMS:
            self.problems.append(f"{location}: {detail}")
