"""The one conversation type that every reader ends in, and the counts of what did not become one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "function"]


@dataclass(frozen=True)
class Turn:
    """One message. An assistant's content is `\\nThought: …\\nAction: …\\nAction Input: …`."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """One training example: the last turn is the assistant's, and is to be learned.

    The system turn is without the API list, which `render` appends from `functions` in the format asked for.
    """

    id: str
    query: str
    turns: tuple[Turn, ...]
    functions: tuple[dict[str, Any], ...]


@dataclass
class Counts:
    """What was read, and what was left out and why. `problems` name file, position and reason."""

    files: int = 0
    valid_queries: int = 0
    invalid_queries: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
