"""An answer: what an agent did with a query. Ours and anyone's end in this type; judges know no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FINISH = "Finish"


@dataclass(frozen=True)
class ToolCall:
    """One call. `arguments` and `response` are texts as they were written; `Finish` has an empty response.

    `cut`: the source kept only the beginning of this call, so that what is missing is not known to be missing.
    """

    name: str
    arguments: str
    response: str
    cut: bool = False


@dataclass(frozen=True)
class Answer:
    """One answer to one query. `steps`: thoughts (texts) and calls in order, `Finish` among them.

    `final_answer` is the text of the arguments of the `Finish` that ended it (ToolBench keeps them whole, JSON and
    all), '' where it was not ended so. `ended`: `answered`, `gave-up`, `steps`, `tokens`, `context`,
    `unreachable` (the agent's endpoint or the environment was not there), or `unknown`.
    """

    query_id: str
    subset: str
    query: str
    functions: tuple[dict[str, Any], ...]
    steps: tuple[str | ToolCall, ...]
    final_answer: str
    method: str = ""
    ended: str = "unknown"

    @property
    def key(self) -> tuple[str, str]:
        """(subset, query_id)."""
        return self.subset, self.query_id

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls, `Finish` among them."""
        return tuple(step for step in self.steps if isinstance(step, ToolCall))
