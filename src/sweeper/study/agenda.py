"""What to run next: the trials of a list, or what a search proposes while it is told how the others ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from sweeper.errors import SweeperError
from sweeper.study.search import JOURNAL, Proposal, asked_by
from sweeper.trial import FAILED, Pruner, failure_of, publish_failure

if TYPE_CHECKING:
    from sweeper.store import Store
    from sweeper.study.costs.purse import Purse
    from sweeper.study.plan import PlannedTrial, Planner

Row = dict[str, Any]


class Agenda:
    """What a backend takes its trials from, within a budget. What `Listed` and `Exploration` have in common."""

    max_concurrent: int | None = None
    """Trials at once, at most; None: as many as there is room for."""
    proposes = False
    """Whether trials become known only while others end."""

    def __init__(self, known: Iterable[PlannedTrial], purse: Purse) -> None:
        self.known, self.purse = list(known), purse
        """`known`: before the first starts."""

    def next(self) -> PlannedTrial | None:
        """A trial that has to run; None where there is none (any more)."""
        raise NotImplementedError

    def may_start(self, trial: PlannedTrial) -> bool:
        """Whether the budget has room for it; if so, it counts as started."""
        return self.purse.start(trial)

    def ended(self, row: Row) -> None:
        """One of them has ended, with its row."""
        self.purse.end(row)

    def pruner(self, trial: PlannedTrial) -> Pruner | None:
        """Who may stop it early. Arms of claims are never stopped."""
        return None


class Listed(Agenda):
    """Trials that were all known before."""

    def __init__(self, trials: Iterable[PlannedTrial], purse: Purse) -> None:
        super().__init__(trials, purse)
        self._left = deque(self.known)

    def next(self) -> PlannedTrial | None:
        """In the order of the list."""
        return self._left.popleft() if self._left else None


class Asked(Protocol):
    """The search as it is spoken to: `sweeper.study.search.Search` here, or in a process of its own."""

    def next(self) -> Proposal | None:
        """The next proposal."""

    def named(self, proposal: Proposal, fingerprint: str, first: str | None) -> None:
        """Its trial."""

    def told(self, proposal: Proposal, row: Row) -> None:
        """Its end."""

    def decide(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Whether to stop it at a rung."""


class Exploration(Agenda):
    """The exploring part of a search. What the store has finished already is told to the search, and not run again."""

    proposes = True

    def __init__(
        self,
        search: Asked,
        planner: Planner,
        store: Store,
        purse: Purse,
        *,
        before: dict[str, str],
        retried: Iterable[PlannedTrial],
        finished: Callable[[PlannedTrial], Row | None],
        tell: Callable[[PlannedTrial, Row | None], None],
    ) -> None:
        """`before`: fingerprint -> proposal, of earlier runs; `retried`: those of them that have to run again;
        `finished`: the row of a trial that the store has; `tell`: called with every trial, and its row if it has one.
        """
        super().__init__((), purse)
        self.search, self.planner, self.store = search, planner, store
        self.spec = asked_by(planner.sweep)
        self.max_concurrent = self.spec.max_concurrent
        self._proposals, self._retried = dict(before), deque(retried)
        self._finished, self._tell = finished, tell
        self._running: dict[str, Proposal] = {}
        self._over = False

    def next(self) -> PlannedTrial | None:
        """A proposal that has to be trained."""
        if self._retried:
            return self._start(self._retried.popleft())
        while (proposal := None if self._over else self.search.next()) is not None:
            trial = self._possible(proposal)
            if trial is None:
                continue
            first = self._proposals.setdefault(trial.fingerprint, proposal.key)
            self.search.named(proposal, trial.fingerprint, None if first == proposal.key else first)
            if first != proposal.key:
                continue
            row = self._finished(trial)
            if row is None:
                return self._start(trial)
            self._tell(trial, row)
            self.search.told(proposal, row)
        self._over = True
        return None  # until an end gives something to propose

    def ended(self, row: Row) -> None:
        """Tell the search."""
        super().ended(row)
        self._over = False
        if (proposal := self._running.pop(row["fingerprint"], None)) is not None:
            self.search.told(proposal, row)
            self.store.push(self.store.study(self.planner.sweep.name) / JOURNAL)

    def pruner(self, trial: PlannedTrial) -> Pruner | None:
        """The search, at its rungs. The anchor passes them too, for the others to be held against, and goes on."""
        if self.spec.rungs is None or trial.proposal is None:
            return None
        stopped = trial.proposal.stopped
        return Pruner(self.spec.rungs, self.spec.scheduler, _Decide(self.search, trial.proposal), stopped)

    def _start(self, trial: PlannedTrial) -> PlannedTrial:
        if trial.proposal is not None:
            self._running[trial.fingerprint] = trial.proposal
        self._tell(trial, None)
        return trial

    def _possible(self, proposal: Proposal) -> PlannedTrial | None:
        """None where the proposal's values make no trial together: the search is told that it failed."""
        found = len(self.planner.problems)
        try:
            trial = self.planner.proposed(proposal)
            problem = self.planner.problems[found] if len(self.planner.problems) > found else ""
        except ValidationError as error:
            trial, problem = None, error.errors(include_url=False)[0]["msg"]
        if not problem:
            return trial
        failure = failure_of(SweeperError(f"proposal {proposal.key}", asked=str(proposal.values), found=problem))
        row = {"fingerprint": trial.fingerprint if trial else "", "status": FAILED, "metrics": {}, "failure": problem}
        if trial and trial.fingerprint:
            publish_failure(self.store, trial.fingerprint, trial.spec.model.name, failure)
            self._tell(trial, row)
        self.search.told(proposal, row)
        return None


class _Decide:
    """A trial's question at a rung. Picklable where the search is a handle."""

    def __init__(self, search: Asked, proposal: Proposal) -> None:
        self.search, self.proposal = search, proposal

    def __call__(self, resource: int, loss: float) -> bool:
        return self.search.decide(self.proposal, resource, loss)
