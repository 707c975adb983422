"""Several judges over the same answers: the panel, its progress, and the report of `judge --json`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweeper.errors import StoppedError
from sweeper.evaluation.answers import Answer, QueryKey
from sweeper.evaluation.judged_rates import VotesByJudge, summarize_votes
from sweeper.evaluation.judges import JUDGES, Judge, JudgeContext, Vote, judge_answers, make_judge
from sweeper.evaluation.openai_client import EndpointUsage

ShareCallback = Callable[[float], None]
"""Called with the finished share of the work, 0 to 1."""
MAX_NAMED_ITEMS = 5
"""Items of a long list that are named."""


def ignore_progress(share: float) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class JudgePanel:
    """The judges of one command, the headline first, and what they are built from."""

    names: tuple[str, ...]
    context: JudgeContext

    def __post_init__(self) -> None:
        for name in self.names:
            JUDGES.check(name, where="--judge")

    def make_judges(
        self, answers: Sequence[Answer] | None = None, on_progress: ShareCallback = ignore_progress
    ) -> list[Judge]:
        """Build the judges, each once.

        Args:
            answers: what will be judged, where known.
            on_progress: called with the share of the votes that a judge has cast.

        Raises:
            UsageError: the context lacks what a judge needs.
            DataError: labels that cannot be read or do not match the answers.
        """
        context = replace(self.context, answers=answers, on_progress=lambda done, total: on_progress(done / total))
        return [make_judge(name, context) for name in dict.fromkeys(self.names)]


@dataclass(frozen=True)
class JudgeReport:
    """Rates of judged answers, what judging cost, and judges that failed."""

    rates: dict[str, object]
    """The document of `summarize_votes`."""
    votes: VotesByJudge
    judging_usage: Mapping[str, EndpointUsage]
    problems: tuple[str, ...]
    """Why there is no rate; empty where there is one."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the document: of the run, or of the answers outside a suite."""

    def to_document(self) -> dict[str, object]:
        """Make the document of `judge --json`."""
        usage = {name: usage.to_document() for name, usage in self.judging_usage.items()}
        return {**self.rates, "judging_usage": usage, "problems": list(self.problems), **self.details}


def judge_with_panel(
    answers: Sequence[Answer],
    judges: Sequence[Judge],
    progress: PhaseProgress,
    *,
    missing: Iterable[QueryKey] = (),
    solvable: set[QueryKey] | None = None,
    no_signal_reason: str = "",
) -> JudgeReport:
    """Judge the answers with every judge.

    Args:
        answers: what to judge.
        judges: the headline first.
        progress: has one phase per judge.
        missing: queries without an answer.
        solvable: the queries that count as solvable; None takes the judges' votes.
        no_signal_reason: why the answers do not measure their agent. If it is not empty, all answers are unscored and
            no judge is used.

    Raises:
        StoppedError: Ctrl-C.
    """
    votes: dict[str, list[list[Vote]]] = {}
    try:
        for judge in judges:
            unscored = [Vote(judge.name, 0, None, no_signal_reason)]
            votes[judge.name] = [unscored for _ in answers] if no_signal_reason else judge_answers(judge, answers)
            progress.advance()
    except KeyboardInterrupt:
        raise make_stopped_error(count_cached(judges), "judgements") from None
    rates = summarize_votes(answers, votes, missing=missing, solvable=solvable)
    problems = [no_signal_reason] if no_signal_reason else collect_problems(judges, votes)
    return JudgeReport(rates, votes, collect_usage(judges), tuple(problems))


class PhaseProgress:
    """Progress of several phases of equal weight as a share of the whole.

    Example:
        >>> shares = []
        >>> progress = PhaseProgress(shares.append, 2)
        >>> progress(0.5); progress.advance(); progress(0.5)
        >>> shares
        [0.25, 0.5, 0.75]
    """

    def __init__(self, on_progress: ShareCallback, n_phases: int) -> None:
        self.on_progress, self.n_phases, self.n_finished = on_progress, n_phases, 0

    def __call__(self, share: float) -> None:
        """Report the finished share of the current phase."""
        self.on_progress((self.n_finished + share) / self.n_phases)

    def advance(self) -> None:
        """Finish the current phase."""
        self.n_finished += 1
        self.on_progress(self.n_finished / self.n_phases)


def collect_problems(judges: Sequence[Judge], votes_by_judge: VotesByJudge) -> list[str]:
    """Describe each judge whose requests all failed."""
    problems = []
    for judge in judges:
        if judge.failure_reason:
            unscored = sum(all(vote.status is None for vote in cast) for cast in votes_by_judge[judge.name])
            problems.append(
                f"judge {judge.name}: every request failed, {unscored:,} answers are unscored: {judge.failure_reason}"
            )
    return problems


def collect_usage(judges: Sequence[Judge]) -> dict[str, EndpointUsage]:
    """Return the usage of the judges that have an endpoint, by name."""
    return {judge.name: judge.usage for judge in judges if judge.usage is not None}


def count_cached(judges: Sequence[Judge]) -> int:
    """Count the judgements that are stored in caches."""
    return sum(judge.cached_count for judge in judges)


def make_stopped_error(n_saved: int, items: str) -> StoppedError:
    """Make the error of an interrupted command of which `n_saved` items are on disk."""
    if n_saved == 0:
        return StoppedError("Interrupted; nothing saved yet. Run again to restart.")
    return StoppedError(f"Interrupted; {n_saved:,} {items} saved. Run again to resume.")
