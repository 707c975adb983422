"""What to run next: the trials of a list, or what a search proposes while it is told how the others ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from sweeper.errors import SweeperError
from sweeper.execution.failures import record_failure
from sweeper.search import JOURNAL_FILE, Proposal, require_search
from sweeper.training import Pruner, TrialRow, classify_failure

if TYPE_CHECKING:
    from sweeper.execution.budget_tracker import BudgetTracker
    from sweeper.planning.plan import PlannedTrial
    from sweeper.planning.planner import Planner
    from sweeper.storage import Store


class TrialSource:
    """What a backend takes its trials from, within a budget. What `Listed` and `Exploration` have in common."""

    max_concurrent: int | None = None
    """Trials at once, at most; None: as many as there is room for."""
    proposes_trials = False
    """Whether trials become known only while others end."""

    def __init__(self, known_trials: Iterable[PlannedTrial], budget_tracker: BudgetTracker) -> None:
        self.known_trials, self.budget_tracker = list(known_trials), budget_tracker
        """`known`: before the first starts."""

    def next_trial(self) -> PlannedTrial | None:
        """A trial that has to run; None where there is none (any more)."""
        raise NotImplementedError

    def reserve_budget(self, trial: PlannedTrial) -> bool:
        """Whether the budget has room for it; if so, it counts as started."""
        return self.budget_tracker.try_start(trial)

    def on_trial_end(self, row: TrialRow) -> None:
        """One of them has ended, with its row."""
        self.budget_tracker.finish(row)

    def get_pruner(self, trial: PlannedTrial) -> Pruner | None:
        """Who may stop it early. Arms of claims are never stopped."""
        return None


class FixedTrials(TrialSource):
    """Trials that were all known before."""

    def __init__(self, trials: Iterable[PlannedTrial], budget_tracker: BudgetTracker) -> None:
        super().__init__(trials, budget_tracker)
        self._remaining = deque(self.known_trials)

    def next_trial(self) -> PlannedTrial | None:
        """In the order of the list."""
        return self._remaining.popleft() if self._remaining else None


class SearchClient(Protocol):
    """The search as it is spoken to: `sweeper.search.Search` here, or in a process of its own."""

    def ask(self) -> Proposal | None:
        """The next proposal."""

    def attach_trial(self, proposal: Proposal, fingerprint: str, duplicate_key: str | None) -> None:
        """Its trial."""

    def tell(self, proposal: Proposal, row: TrialRow) -> None:
        """Record the outcome of a trial."""

    def should_prune(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Whether to stop it at a rung."""


class SearchTrials(TrialSource):
    """The exploring part of a search. What the store has finished already is told to the search, and not run again."""

    proposes_trials = True

    def __init__(
        self,
        client: SearchClient,
        planner: Planner,
        store: Store,
        budget_tracker: BudgetTracker,
        *,
        proposal_keys: dict[str, str],
        retries: Iterable[PlannedTrial],
        read_finished_row: Callable[[PlannedTrial], TrialRow | None],
        on_trial: Callable[[PlannedTrial, TrialRow | None], None],
    ) -> None:
        """`before`: fingerprint -> proposal, of earlier runs; `retried`: those of them that have to run again;
        `finished`: the row of a trial that the store has; `tell`: called with every trial, and its row if it has one.
        """
        super().__init__((), budget_tracker)
        self.client, self.planner, self.store = client, planner, store
        self.search_spec = require_search(planner.sweep)
        self.max_concurrent = self.search_spec.max_concurrent
        self._proposal_keys, self._retries = dict(proposal_keys), deque(retries)
        self._read_finished_row, self._on_trial = read_finished_row, on_trial
        self._running_proposals: dict[str, Proposal] = {}
        self._is_exhausted = False

    def next_trial(self) -> PlannedTrial | None:
        """A proposal that has to be trained."""
        if self._retries:
            return self._register_start(self._retries.popleft())
        while (proposal := None if self._is_exhausted else self.client.ask()) is not None:
            trial = self._plan_or_reject(proposal)
            if trial is None:
                continue
            first = self._proposal_keys.setdefault(trial.fingerprint, proposal.key)
            self.client.attach_trial(proposal, trial.fingerprint, None if first == proposal.key else first)
            if first != proposal.key:
                continue
            row = self._read_finished_row(trial)
            if row is None:
                return self._register_start(trial)
            self._on_trial(trial, row)
            self.client.tell(proposal, row)
        self._is_exhausted = True
        return None  # until an end gives something to propose

    def on_trial_end(self, row: TrialRow) -> None:
        """Tell the search."""
        super().on_trial_end(row)
        self._is_exhausted = False
        if (proposal := self._running_proposals.pop(row.fingerprint, None)) is not None:
            self.client.tell(proposal, row)
            self.store.push(self.store.study_folder(self.planner.sweep.name) / JOURNAL_FILE)

    def get_pruner(self, trial: PlannedTrial) -> Pruner | None:
        """The search, at its rungs. The anchor passes them too, for the others to be held against, and goes on."""
        if self.search_spec.rungs is None or trial.proposal is None:
            return None
        stopped = trial.proposal.is_stopped
        return Pruner(
            self.search_spec.rungs, self.search_spec.scheduler, _RungDecision(self.client, trial.proposal), stopped
        )

    def _register_start(self, trial: PlannedTrial) -> PlannedTrial:
        if trial.proposal is not None:
            self._running_proposals[trial.fingerprint] = trial.proposal
        self._on_trial(trial, None)
        return trial

    def _plan_or_reject(self, proposal: Proposal) -> PlannedTrial | None:
        """None where the proposal's values make no trial together: the search is told that it failed."""
        found = len(self.planner.problems)
        try:
            trial = self.planner.plan_proposal(proposal)
            problem = self.planner.problems[found] if len(self.planner.problems) > found else ""
        except ValidationError as error:
            trial, problem = None, error.errors(include_url=False)[0]["msg"]
        if not problem:
            return trial
        rejection = SweeperError(f"proposal {proposal.key}", requested=str(proposal.values), found=problem)
        if trial and trial.fingerprint:
            row = record_failure(trial, self.store, rejection)
            self._on_trial(trial, row)
        else:
            row = TrialRow.failed("", classify_failure(rejection))
        self.client.tell(proposal, row)
        return None


class _RungDecision:
    """A trial's question at a rung. Picklable where the search is a handle."""

    def __init__(self, client: SearchClient, proposal: Proposal) -> None:
        self.client, self.proposal = client, proposal

    def __call__(self, resource: int, loss: float) -> bool:
        return self.client.should_prune(self.proposal, resource, loss)
