"""Sources of trials: a fixed list, or a search that proposes trials as earlier ones end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
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
    """Hands out the trials that a backend runs, within a budget. Base of `FixedTrials` and `SearchTrials`."""

    max_concurrent: int | None = None
    """Limit of trials at the same time; None: as many as fit the cluster."""
    proposes_trials = False
    """Whether trials become known only as others end."""

    def __init__(self, known_trials: Iterable[PlannedTrial], budget_tracker: BudgetTracker) -> None:
        """`known_trials`: those known before the first one starts."""
        self.known_trials, self.budget_tracker = list(known_trials), budget_tracker

    def next_trial(self) -> PlannedTrial | None:
        """Return a trial to run; None if there is none now."""
        raise NotImplementedError

    def reserve_budget(self, trial: PlannedTrial) -> bool:
        """Return whether the budget has room for a trial. If so, it counts as started."""
        return self.budget_tracker.try_start(trial)

    def on_trial_end(self, row: TrialRow) -> None:
        """Handle the end of a trial."""
        self.budget_tracker.finish(row)

    def get_pruner(self, trial: PlannedTrial) -> Pruner | None:
        """Return the pruner of a trial; None for the arms of claims, which always train to their end."""
        return None


class FixedTrials(TrialSource):
    """Trials that are all known from the start."""

    def __init__(self, trials: Iterable[PlannedTrial], budget_tracker: BudgetTracker) -> None:
        super().__init__(trials, budget_tracker)
        self._remaining = deque(self.known_trials)

    def next_trial(self) -> PlannedTrial | None:
        """Return the next trial of the list."""
        return self._remaining.popleft() if self._remaining else None


class SearchClient(Protocol):
    """Access to a search: `sweeper.search.SearchSession` in this process, or a client of one in another process."""

    def ask(self) -> Proposal | None:
        """Return the next proposal; None if there is none now."""

    def attach_trial(self, proposal: Proposal, fingerprint: str, duplicate_key: str | None) -> None:
        """Record the trial of a proposal; `duplicate_key` names an earlier proposal of the same trial."""

    def tell(self, proposal: Proposal, row: TrialRow) -> None:
        """Report the end of a proposal's trial."""

    def should_prune(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Return whether to stop a proposal's trial at a rung."""


class SearchTrials(TrialSource):
    """Trials that a search proposes. A proposed trial that the store has finished is reported, not run again."""

    proposes_trials = True

    def __init__(
        self,
        client: SearchClient,
        planner: Planner,
        budget_tracker: BudgetTracker,
        *,
        proposal_keys: Mapping[str, str],
        retries: Iterable[PlannedTrial],
        read_finished_row: Callable[[PlannedTrial], TrialRow | None],
        on_trial: Callable[[PlannedTrial, TrialRow | None], None],
    ) -> None:
        """Continue a search.

        Args:
            client: access to the search.
            planner: plans the trial of a proposal.
            budget_tracker: decides whether a trial may start.
            proposal_keys: fingerprint of a trial -> key of its proposal, from earlier runs.
            retries: trials of earlier runs that have to run again.
            read_finished_row: returns the row of a trial that the store has finished.
            on_trial: is called with every trial, and with its row if it has one.
        """
        super().__init__((), budget_tracker)
        self.client, self.planner = client, planner
        self.search_spec = require_search(planner.sweep)
        self.max_concurrent = self.search_spec.max_concurrent
        self._proposal_keys, self._retries = dict(proposal_keys), deque(retries)
        self._read_finished_row, self._on_trial = read_finished_row, on_trial
        self._running_proposals: dict[str, Proposal] = {}
        self._is_exhausted = False

    @property
    def _store(self) -> Store:
        if self.planner.store is None:
            raise AssertionError("a search runs with a store")
        return self.planner.store

    def next_trial(self) -> PlannedTrial | None:
        """Return the trial of the next proposal that has to be trained."""
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
        return None  # until the end of a trial makes another proposal possible

    def on_trial_end(self, row: TrialRow) -> None:
        """Report the end of a trial to the search."""
        super().on_trial_end(row)
        self._is_exhausted = False
        if (proposal := self._running_proposals.pop(row.fingerprint, None)) is not None:
            self.client.tell(proposal, row)
            self._store.push(self._store.study_folder(self.planner.sweep.name) / JOURNAL_FILE)

    def get_pruner(self, trial: PlannedTrial) -> Pruner | None:
        """Return the search's pruner. The baseline reports at the rungs too, for comparison, and is never stopped."""
        if self.search_spec.rungs is None or trial.proposal is None:
            return None
        stopped = trial.proposal.is_stopped
        decide = _RungDecision(self.client, trial.proposal)
        return Pruner(self.search_spec.rungs, self.search_spec.scheduler, decide, stopped)

    def _register_start(self, trial: PlannedTrial) -> PlannedTrial:
        if trial.proposal is not None:
            self._running_proposals[trial.fingerprint] = trial.proposal
        self._on_trial(trial, None)
        return trial

    def _plan_or_reject(self, proposal: Proposal) -> PlannedTrial | None:
        """Plan the trial of a proposal. If its values are impossible together, report a failure and return None."""
        n_problems = len(self.planner.problems)
        try:
            trial = self.planner.plan_proposal(proposal)
            problem = self.planner.problems[n_problems] if len(self.planner.problems) > n_problems else ""
        except ValidationError as error:
            trial, problem = None, error.errors(include_url=False)[0]["msg"]
        if not problem:
            return trial
        rejection = SweeperError(f"proposal {proposal.key}", requested=str(proposal.values), found=problem)
        if trial and trial.fingerprint:
            row = record_failure(trial, self._store, rejection)
            self._on_trial(trial, row)
        else:
            row = TrialRow.failed("", classify_failure(rejection))
        self.client.tell(proposal, row)
        return None


class _RungDecision:
    """Pruning decision for one trial, made by the search. Picklable if the client is a handle."""

    def __init__(self, client: SearchClient, proposal: Proposal) -> None:
        self.client, self.proposal = client, proposal

    def __call__(self, resource: int, loss: float) -> bool:
        return self.client.should_prune(self.proposal, resource, loss)
