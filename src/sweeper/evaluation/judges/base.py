"""The interface of a judge, its votes, and what a judge is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from sweeper.config import DataSpec, LlmSpec
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.openai_client import CountProgressCallback, EndpointUsage

AnswerStatus = Literal["solved", "unsolved", "unsure"]
TaskStatus = Literal["solvable", "unsolvable", "unsure"]
Choice = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class Vote:
    """One judgement of one answer."""

    judge: str
    """Name of the judge."""
    index: int
    """Number of the vote among those of the judge on this answer, from 0."""
    status: AnswerStatus | None
    """The judgement; None where the answer could not be judged (unscored), and `reason` states why."""
    reason: str
    task_status: TaskStatus | None = None
    """Whether the query can be solved at all; None where the judge did not decide."""
    rules: Mapping[str, bool | None] = field(default_factory=dict)
    """Rule -> whether it holds; None where the answer does not contain enough to decide. Empty without rules."""
    task_fault: str = ""
    """Why `task_status` is missing where it was requested."""


@dataclass(frozen=True)
class Preference:
    """Which of two answers, `a` and `b`, is better. `choice` is None where the judge did not decide."""

    choice: Choice | None
    reason: str


class Judge(Protocol):
    """Scores answers. Subclasses define `name`, `identity` and `judge`."""

    name: str
    """Shown in tables."""
    identity: str
    """Everything of the judge that changes a judgement, as text; it is hashed into the suite's fingerprint. May be
    empty: `EVALUATION_SEMANTICS` and the world's version are hashed for every judge."""

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """Return the votes on each answer, in the order of `answers`. A failing endpoint does not raise."""

    @property
    def usage(self) -> EndpointUsage | None:
        """Requests and tokens so far; None for a judge without an endpoint."""
        return None

    @property
    def failure_reason(self) -> str:
        """Why no request so far was successful; '' where one was, or where none was sent."""
        return ""

    @property
    def cached_count(self) -> int:
        """Number of judgements so far that are stored in the cache."""
        return 0


@dataclass(frozen=True)
class JudgeContext:
    """What judges are built from. A judge uses its part of it and rejects what is missing."""

    data: DataSpec
    """Its `toolworld` settings define the world of the oracle."""
    llm: LlmSpec | None = None
    """Endpoint of the judge `llm`."""
    cache: Path | None = None
    """Folder of the replies of the judge `llm`; None stores none."""
    labels: Path | None = None
    """CSV file of the judge `human`."""
    label_key: Path | None = None
    """Key of that file's items."""
    answers: Sequence[Answer] | None = None
    """The answers to be judged, where known: labels of any other answer are rejected."""
    on_progress: CountProgressCallback | None = None
    """Called with (votes cast, votes in total)."""


JudgeFactory = Callable[[JudgeContext], Judge]
"""`make_judge` of a file of this folder. It raises UsageError for what the context lacks."""
