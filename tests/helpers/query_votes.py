"""Votes on one query, a letter each."""

from __future__ import annotations

from typing import Any

SHORT = {"s": "solved", "u": "unsolved", "?": "unsure", "-": None}


def query(
    votes: str,
    task: str | None = None,
    answered: bool = True,
    query_id: str = "q",
    subset: str = "G1",
    judge: str = "j",
) -> list[dict[str, Any]]:
    """One query's votes, a letter each: solved, unsolved, ? unsure, - unscored."""
    row = {"subset": subset, "query_id": query_id, "judge": judge, "task": task, "answered": answered}
    return [row | {"vote": i, "status": SHORT[letter]} for i, letter in enumerate(votes)]
