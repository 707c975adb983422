"""Which of two answers to a query wins: a pass beats a fail; between equals the judge may prefer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from sweeper.errors import UsageError
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judges.base import Judge, Vote
from sweeper.evaluation.judges.llm import Preference


@runtime_checkable
class PairwiseJudge(Protocol):
    """A judge that can also say which of two answers is better."""

    def prefer(self, pairs: Sequence[tuple[Answer, Answer]]) -> list[Preference]:
        """One preference a pair, in order."""


@dataclass(frozen=True)
class PairwiseResult:
    """How a pair ended. `outcome` None: undecided or unscored. `by`: a pass against a fail, a preference, neither."""

    winner: Literal["a", "b", "tie"] | None
    decided_by: Literal["pass", "preference", "tie", "undecided", "unscored"]
    reason: str


MajorityStatus = Literal["passes", "fails", "is undecided"]


def find_majority(votes: Sequence[Vote]) -> MajorityStatus | None:
    """What more than half of the scored votes say, undecided where they say neither; None where no vote is scored."""
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
    """One comparison a pair, in order. A pass beats a fail; about all else a judge that can prefer is asked, together.

    Without a preference two passes, or two fails, are a tie, and a pair with an undecided answer stays undecided.
    Raises UsageError for unequal lists.
    """
    if not len(pairs) == len(votes_a) == len(votes_b):
        found = f"{len(pairs)} pairs, votes on {len(votes_a)} and {len(votes_b)} answers"
        raise UsageError("comparison of answers", requested="votes on both answers of each pair", found=found)
    decided = [_decide_by_votes(a, b) for a, b in zip(votes_a, votes_b, strict=True)]
    if isinstance(judge, PairwiseJudge):
        even = [k for k, comparison in enumerate(decided) if comparison.decided_by in ("tie", "undecided")]
        preferred = judge.prefer([pairs[k] for k in even]) if even else []
        for k, preference in zip(even, preferred, strict=True):
            by: Literal["preference", "unscored"] = "unscored" if preference.choice is None else "preference"
            decided[k] = PairwiseResult(preference.choice, by, f"{decided[k].reason}; {preference.reason}")
    return decided


def _decide_by_votes(votes_a: Sequence[Vote], votes_b: Sequence[Vote]) -> PairwiseResult:
    a, b = find_majority(votes_a), find_majority(votes_b)
    if a is None or b is None:
        votes, which = (votes_a, "a") if a is None else (votes_b, "b")
        return PairwiseResult(None, "unscored", f"{which}: {votes[0].reason if votes else 'no votes'}")
    if "is undecided" in (a, b):
        return PairwiseResult(None, "undecided", f"a {a}, b {b}")
    if a == b:
        return PairwiseResult("tie", "tie", "both pass" if a == "passes" else "both fail")
    return PairwiseResult("a" if a == "passes" else "b", "pass", "one passes, the other fails")
