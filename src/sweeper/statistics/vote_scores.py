"""Scores of one query from its votes, under each of the definitions in use. See `sweeper.statistics.definitions`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

VOTE_STATUSES = ("solved", "unsolved", "unsure")
TASK_STATUSES = ("solvable", "unsolvable", "unsure")

VoteRow = Mapping[str, object]
"""One vote: `subset`, `query_id`, `vote` (its number), `status`, `task` and `answered`."""
Votes = Sequence[VoteRow]
"""The votes on one query."""


def score_strict(votes: Votes) -> float:
    """Return 1 if more than half of the query's scored votes are `solved`, else 0.

    A tie fails, and `unsure` is not solved. NaN where no vote is scored.

    Args:
        votes: the votes on one query.

    Returns:
        1, 0 or NaN.

    Example:
        >>> vote = {"subset": "G1_tool", "query_id": "1", "vote": 0, "task": None, "answered": True}
        >>> votes = [vote | {"status": status, "vote": k} for k, status in enumerate(["solved", "unsure"])]
        >>> score_strict(votes)
        0.0
    """
    scored = keep_scored_votes(votes)
    return float(2 * count_votes(scored, "solved") > len(scored)) if scored else math.nan


def score_stabletoolbench(votes: Votes) -> float:
    """Return the mean over the query's scored votes of solved 1, unsure 0.5, unsolved 0; NaN where none is scored.

    Args:
        votes: the votes on one query.

    Returns:
        The score, 0 to 1.

    Example:
        >>> vote = {"subset": "G1_tool", "query_id": "1", "vote": 0, "task": None, "answered": True}
        >>> votes = [vote | {"status": status, "vote": k} for k, status in enumerate(["solved", "unsure"])]
        >>> score_stabletoolbench(votes)
        0.75
    """
    scored = keep_scored_votes(votes)
    return (count_votes(scored, "solved") + count_votes(scored, "unsure") / 2) / len(scored) if scored else math.nan


def score_tooleval(votes: Votes, seed: int = 0) -> float:
    """Return 1 if at least half of the query's scored votes pass, else 0; NaN where no vote is scored.

    A vote passes if it is solved or the task is unsolvable, fails if it is unsolved otherwise, and flips a coin if it
    is unsure, or unsolved while the task is unsure. An answer without Finish fails in every vote.

    Args:
        votes: the votes on one query.
        seed: seed of the coins.

    Returns:
        1, 0 or NaN.

    Example:
        >>> vote = {"subset": "G1_tool", "query_id": "1", "vote": 0, "task": None, "answered": True}
        >>> votes = [vote | {"status": status, "vote": k} for k, status in enumerate(["solved", "unsure"])]
        >>> score_tooleval(votes)
        1.0
    """
    passed = [_passes_tooleval(vote, seed) for vote in keep_scored_votes(votes)]
    return float(2 * sum(passed) >= len(passed)) if passed else math.nan


def keep_scored_votes(votes: Votes) -> list[VoteRow]:
    """Return the votes that judge the answer."""
    return [vote for vote in votes if vote["status"] in VOTE_STATUSES]


def count_votes(votes: Votes, status: str) -> int:
    """Count the votes with a status."""
    return sum(vote["status"] == status for vote in votes)


def _passes_tooleval(vote: VoteRow, seed: int) -> bool:
    if not vote["answered"]:
        return False
    if vote["status"] == "solved" or vote["task"] == "unsolvable":
        return True
    if vote["status"] == "unsolved" and vote["task"] != "unsure":
        return False
    return bool(_make_vote_generator(vote, seed).random() < 0.5)


def _make_vote_generator(vote: VoteRow, seed: int) -> np.random.Generator:
    """Return a generator of this vote alone: its coin depends neither on the order of rows nor on other votes."""
    key = json.dumps([seed, str(vote["subset"]), str(vote["query_id"]), int(cast(int, vote["vote"]))])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))
