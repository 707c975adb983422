"""Sources of trials: a fixed list, and a search whose proposals become trials."""

from __future__ import annotations

from pathlib import Path

import pytest
from searches import make_sweep
from small_studies import load_small_sweep

from sweeper.config import Sweep
from sweeper.execution.budget_tracker import BudgetTracker
from sweeper.execution.trial_source import FixedTrials, SearchTrials
from sweeper.planning.plan import PlannedTrial
from sweeper.planning.planner import Planner, plan_sweep
from sweeper.search import Proposal
from sweeper.storage import Store
from sweeper.training import TrialRow, read_record


class ScriptedSearch:
    """A search with fixed proposals, which records every call."""

    def __init__(self, proposals: list[Proposal]) -> None:
        self.proposals = proposals
        self.attached: list[tuple[str, str | None]] = []
        self.told: list[tuple[str, str]] = []

    def ask(self) -> Proposal | None:
        return self.proposals.pop(0) if self.proposals else None

    def attach_trial(self, proposal: Proposal, fingerprint: str, duplicate_key: str | None) -> None:
        self.attached.append((proposal.key, duplicate_key))

    def tell(self, proposal: Proposal, row: TrialRow) -> None:
        self.told.append((proposal.key, row.status))

    def should_prune(self, proposal: Proposal, resource: int, loss: float) -> bool:
        return loss > 1.0


def propose(number: int, learning_rate: float, **more: float) -> Proposal:
    return Proposal("", number, False, {"learning_rate": learning_rate, "max_grad_norm": 1.0, **more})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make_source(
    sweep: Sweep,
    store: Store,
    proposals: list[Proposal],
    finished: dict[str, str] | None = None,
    retries: tuple[PlannedTrial, ...] = (),
) -> tuple[SearchTrials, ScriptedSearch, list[tuple[str, str | None]]]:
    """Make a source; `finished`: fingerprint -> status of trials that the store has."""
    search, shown = ScriptedSearch(proposals), list[tuple[str, str | None]]()

    def read_finished_row(trial: PlannedTrial) -> TrialRow | None:
        status = (finished or {}).get(trial.fingerprint)
        return TrialRow(trial.fingerprint, "COMPLETE") if status else None

    source = SearchTrials(
        search,
        Planner(sweep, store),
        BudgetTracker(sweep, store),
        proposal_keys={},
        retries=retries,
        read_finished_row=read_finished_row,
        on_trial=lambda trial, row: shown.append((trial.fingerprint, row.status if row else None)),
    )
    return source, search, shown


def test_fixed_trials_returns_each_trial_once(store: Store) -> None:
    sweep = load_small_sweep()
    trials = plan_sweep(sweep).trials
    source = FixedTrials(trials, BudgetTracker(sweep, store))
    assert [source.next_trial() for _ in trials] == list(trials)
    assert source.next_trial() is None
    assert source.get_pruner(trials[0]) is None


def test_search_trials_tells_the_search_how_a_trial_ended(tmp_path: Path, store: Store) -> None:
    source, search, shown = make_source(make_sweep(tmp_path), store, [propose(0, 0.01)])
    trial = source.next_trial()
    assert trial is not None
    assert source.next_trial() is None
    assert search.attached == [("#0", None)]
    assert shown == [(trial.fingerprint, None)]
    search.proposals.append(propose(1, 0.02))
    assert source.next_trial() is None, "nothing new before a trial ends"
    source.on_trial_end(TrialRow(trial.fingerprint, "COMPLETE"))
    assert search.told == [("#0", "COMPLETE")]
    assert source.next_trial() is not None


def test_search_trials_skips_duplicates(tmp_path: Path, store: Store) -> None:
    proposals = [propose(0, 0.01), propose(1, 0.01), propose(2, 0.02)]
    source, search, _ = make_source(make_sweep(tmp_path), store, proposals)
    trials = [source.next_trial() for _ in range(3)]
    assert [trial.proposal.key for trial in trials if trial and trial.proposal] == ["#0", "#2"]
    assert search.attached == [("#0", None), ("#1", "#0"), ("#2", None)]


def test_search_trials_reuses_finished_trials(tmp_path: Path, store: Store) -> None:
    sweep = make_sweep(tmp_path)
    first = Planner(sweep, store).plan_proposal(propose(0, 0.01))
    source, search, shown = make_source(
        sweep, store, [propose(0, 0.01), propose(1, 0.02)], finished={first.fingerprint: "COMPLETE"}
    )
    trial = source.next_trial()
    assert trial is not None
    assert trial.proposal == propose(1, 0.02)
    assert search.told == [("#0", "COMPLETE")]
    assert shown[0] == (first.fingerprint, "COMPLETE")


def test_search_trials_returns_retries_first(tmp_path: Path, store: Store) -> None:
    sweep = make_sweep(tmp_path)
    retry = Planner(sweep, store).plan_proposal(propose(0, 0.01))
    source, search, _ = make_source(sweep, store, [propose(1, 0.02)], retries=(retry,))
    assert source.next_trial() == retry
    source.on_trial_end(TrialRow(retry.fingerprint, "COMPLETE"))
    assert search.told == [("#0", "COMPLETE")]


def test_search_trials_rejects_impossible_values_and_goes_on(tmp_path: Path, store: Store) -> None:
    sweep = make_sweep(tmp_path)
    source, search, _ = make_source(sweep, store, [propose(0, -1.0), propose(1, 0.02)])
    trial = source.next_trial()
    assert trial is not None
    assert search.told == [("#0", "FAILED")]
    assert read_record(store.record_path(trial.fingerprint)) is None


def test_get_pruner_decides_by_the_search(tmp_path: Path, store: Store) -> None:
    search = "algorithm: random, trials: 12, scheduler: asha, rungs: {first: 10, reduction_factor: 2}"
    source, _, _ = make_source(make_sweep(tmp_path, search=search), store, [propose(0, 0.01)])
    trial = source.next_trial()
    assert trial is not None
    pruner = source.get_pruner(trial)
    assert pruner is not None
    assert [pruner.should_prune(10, loss) for loss in (0.5, 2.0)] == [False, True]
