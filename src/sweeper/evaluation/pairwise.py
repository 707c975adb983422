"""Pairwise comparison of answers to one query: a pass beats a fail; between equals a judge may prefer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from sweeper.errors import UsageError
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judges.base import Choice, Judge, Preference, Vote


@runtime_checkable
class PairwiseJudge(Protocol):
    """A judge that can also compare two answers."""

    def prefer(self, pairs: Sequence[tuple[Answer, Answer]]) -> list[Preference]:
        """Return which answer of each pair is better."""


@dataclass(frozen=True)
class PairwiseResult:
    """The result of one pair."""

    winner: Choice | None
    """None: undecided or unscored."""
    decided_by: Literal["pass", "preference", "tie", "undecided", "unscored"]
    """`pass`: one passes and the other fails; `preference`: the judge's; `tie`: neither."""
    reason: str

    def to_document(self, answer: Answer) -> dict[str, object]:
        """Make one entry of `pairs` in the document of `compare --json`."""
        decision = {"outcome": self.winner, "by": self.decided_by, "reason": self.reason}
        return {"subset": answer.subset, "query_id": answer.query_id, **decision}


MajorityStatus = Literal["passes", "fails", "is undecided"]


def find_majority(votes: Sequence[Vote]) -> MajorityStatus | None:
    """Return the status with more than half of the scored votes; None where no vote is scored."""
    scored = [vote.status for vote in votes if vote.status is not None]
    if not scored:
        return None
    if scored.count("solved") * 2 > len(scored):
        return "passes"
    return "fails" if scored.count("unsolved") * 2 > len(scored) else "is undecided"


def compare_pairs(
    pairs: Sequence[tuple[Answer, Answer]],
    votes_a: Sequence[Sequence[Vote]],
    votes_b: Sequence[Sequence[Vote]],
    judge: Judge,
) -> list[PairwiseResult]:
    """Compare the answers of each pair.

    A pass beats a fail. All other pairs go to the judge, at once, if it can prefer. Without a preference two passes, or
    two fails, are a tie, and a pair with an undecided answer stays undecided.

    Raises:
        UsageError: lists of unequal length.
    """
    if not len(pairs) == len(votes_a) == len(votes_b):
        found = f"{len(pairs)} pairs, votes on {len(votes_a)} and {len(votes_b)} answers"
        raise UsageError("comparison of answers", requested="votes on both answers of each pair", found=found)
    decided = [_decide_by_votes(a, b) for a, b in zip(votes_a, votes_b, strict=True)]
    if isinstance(judge, PairwiseJudge):
        even = [k for k, comparison in enumerate(decided) if comparison.decided_by in ("tie", "undecided")]
        preferred = judge.prefer([pairs[k] for k in even]) if even else []
        for k, preference in zip(even, preferred, strict=True):
            decided_by: Literal["preference", "unscored"] = "unscored" if preference.choice is None else "preference"
            decided[k] = PairwiseResult(preference.choice, decided_by, f"{decided[k].reason}; {preference.reason}")
    return decided


def _decide_by_votes(votes_a: Sequence[Vote], votes_b: Sequence[Vote]) -> PairwiseResult:
    a, b = find_majority(votes_a), find_majority(votes_b)
    if a is None or b is None:
        votes, side = (votes_a, "a") if a is None else (votes_b, "b")
        return PairwiseResult(None, "unscored", f"{side}: {votes[0].reason if votes else 'no votes'}")
    if "is undecided" in (a, b):
        return PairwiseResult(None, "undecided", f"a {a}, b {b}")
    if a == b:
        return PairwiseResult("tie", "tie", "both pass" if a == "passes" else "both fail")
    return PairwiseResult("a" if a == "passes" else "b", "pass", "one passes, the other fails")
