"""Which of two answers to a query wins: a pass beats a fail; between equals the judge may prefer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from sweeper.errors import UsageError
from sweeper.evaluate.answers import Answer
from sweeper.evaluate.judges.llm import Preference
from sweeper.evaluate.judges.vote import Judge, Vote


@runtime_checkable
class Prefers(Protocol):
    """A judge that can also say which of two answers is better."""

    def prefer(self, pairs: Sequence[tuple[Answer, Answer]]) -> list[Preference]:
        """One preference a pair, in order."""


@dataclass(frozen=True)
class Comparison:
    """How a pair ended. `outcome` None: unscored. `by`: a pass against a fail, a preference, or neither."""

    outcome: Literal["a", "b", "tie"] | None
    by: Literal["pass", "preference", "tie", "unscored"]
    reason: str


def passed(votes: Sequence[Vote]) -> bool | None:
    """Whether more than half of the scored votes say solved; None where no vote is scored."""
    scored = [vote.status for vote in votes if vote.status is not None]
    return scored.count("solved") * 2 > len(scored) if scored else None


def compare(
    pairs: Sequence[tuple[Answer, Answer]],
    votes_a: Sequence[Sequence[Vote]],
    votes_b: Sequence[Sequence[Vote]],
    judge: Judge,
) -> list[Comparison]:
    """One comparison a pair, in order; preferences are asked together. Raises UsageError for unequal lists."""
    if not len(pairs) == len(votes_a) == len(votes_b):
        found = f"{len(pairs)} pairs, votes on {len(votes_a)} and {len(votes_b)} answers"
        raise UsageError("comparison of answers", asked="votes on both answers of each pair", found=found)
    decided = [_by_votes(a, b) for a, b in zip(votes_a, votes_b, strict=True)]
    if isinstance(judge, Prefers):
        even = [k for k, comparison in enumerate(decided) if comparison.by == "tie"]
        preferred = judge.prefer([pairs[k] for k in even]) if even else []
        for k, preference in zip(even, preferred, strict=True):
            by: Literal["preference", "unscored"] = "unscored" if preference.choice is None else "preference"
            decided[k] = Comparison(preference.choice, by, f"{decided[k].reason}; {preference.reason}")
    return decided


def _by_votes(votes_a: Sequence[Vote], votes_b: Sequence[Vote]) -> Comparison:
    a, b = passed(votes_a), passed(votes_b)
    if a is None or b is None:
        votes, which = (votes_a, "a") if a is None else (votes_b, "b")
        return Comparison(None, "unscored", f"{which}: {votes[0].reason if votes else 'no votes'}")
    if a == b:
        return Comparison("tie", "tie", "both pass" if a else "both fail")
    return Comparison("a" if a else "b", "pass", "one passes, the other fails")
