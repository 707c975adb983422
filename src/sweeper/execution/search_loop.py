"""The search of a run: trials that it proposes, then the best of them on fresh seeds."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass

from sweeper.config import DATA_AXES, Sweep, make_trial
from sweeper.execution.backends.base import BackendSession
from sweeper.execution.run_context import RunContext
from sweeper.execution.trial_source import FixedTrials, SearchTrials
from sweeper.planning.branching import delete_branch_checkpoints, find_restarted_trials
from sweeper.planning.plan import PlannedTrial
from sweeper.planning.planner import Planner
from sweeper.results.study_tables import is_finished, read_trial_row
from sweeper.search import JOURNAL_FILE, count_planned_trials, is_exhausted, load_proposal_records
from sweeper.storage import Store
from sweeper.training import TrialRow, read_record


def run_search(sweep: Sweep, run: RunContext, session: BackendSession) -> None:
    """Run a search to its end, or resume an interrupted one; then confirm its best trials on fresh seeds."""
    earlier = _read_earlier_proposals(sweep, run.store)
    if earlier.retries or earlier.unreported or not earlier.is_exhausted:
        _explore(sweep, earlier, run, session)
    if is_search_complete(sweep, run.store):
        _clean_up_population(sweep, run)
        _confirm(sweep, run, session)


@dataclass(frozen=True)
class _EarlierProposals:
    """State that earlier runs of a search left."""

    n_known: int
    """Number of proposals."""
    is_exhausted: bool
    """Whether the search proposes nothing more."""
    keys: dict[str, str]
    """Fingerprint of a trial -> key of its first proposal."""
    retries: list[PlannedTrial]
    """Trials that have to run again."""
    unreported: list[PlannedTrial]
    """Ended trials whose outcome the search does not have: a driver died in between."""


def _read_earlier_proposals(sweep: Sweep, store: Store) -> _EarlierProposals:
    records = load_proposal_records(sweep, store.study_folder(sweep.name))
    known = {record.proposal.key: record for record in records}
    retried = {(record.proposal.group, record.retried_number) for record in records}
    keys: dict[str, str] = {}
    retries: list[PlannedTrial] = []
    unreported: list[PlannedTrial] = []
    for trial in Planner(sweep, store).plan_search():
        record = known.get(trial.proposal.key) if trial.proposal and trial.role != "confirm" else None
        if record is None:
            continue
        if record.fingerprint:
            keys.setdefault(trial.fingerprint, record.proposal.key)
        if record.state == "RUNNING" or is_unrunnable(trial, store):
            continue
        if not is_finished(trial, store):
            retries.append(trial)
        elif record.state == "FAIL" and (record.proposal.group, record.proposal.number) not in retried:
            unreported.append(trial)
    return _EarlierProposals(len(known), is_exhausted(sweep, records), keys, retries, unreported)


def _explore(sweep: Sweep, earlier: _EarlierProposals, run: RunContext, session: BackendSession) -> None:
    """Train the trials that the search proposes, until it is exhausted."""
    store, folder = run.store, run.store.study_folder(sweep.name)

    def read_finished_row(trial: PlannedTrial) -> TrialRow | None:
        return read_trial_row(trial, store) if is_finished(trial, store) else None

    with contextlib.ExitStack() as stack:
        if sweep.name != run.plan.sweep.name:  # a part of a combined sweep: its own study may be running
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(store.lock_folder(folder, timeout=0))
        client = session.open_search(sweep, folder)
        for trial in earlier.unreported:
            if trial.proposal:
                client.tell(trial.proposal, read_trial_row(trial, store))
        source = SearchTrials(
            client,
            Planner(sweep, store),
            run.budget_tracker,
            proposal_keys=earlier.keys,
            retries=earlier.retries,
            read_finished_row=read_finished_row,
            on_trial=run.display.add_trial,
        )
        planned = count_planned_trials(sweep)
        run.display.print_line(f"{sweep.name}: searching; {earlier.n_known} of {planned} trials already proposed")
        try:
            session.run_trials(source, run)
        finally:
            store.push(folder / JOURNAL_FILE)


def _clean_up_population(sweep: Sweep, run: RunContext) -> None:
    """Delete the checkpoints that members of an ended population kept for others to continue from."""
    if sweep.search is None or sweep.search.pbt_config is None:
        return
    members = [trial for trial in Planner(sweep, run.store).plan_search() if trial.role != "confirm"]
    delete_branch_checkpoints(members, run.store)
    if restarted := find_restarted_trials(members, run.store):
        run.display.print_line(
            f"{sweep.name}: {len(restarted)} members were trained from the start instead of from their parent's "
            f"checkpoint, which was missing or damaged: {', '.join(restarted)}"
        )


def _confirm(sweep: Sweep, run: RunContext, session: BackendSession) -> None:
    """Train the best proposals of an ended search on fresh seeds."""
    confirming = [trial for trial in Planner(sweep, run.store).plan_search() if trial.role == "confirm"]
    todo = [trial for trial in confirming if not is_finished(trial, run.store)]
    for trial in confirming:
        run.display.add_trial(trial, None if trial in todo else read_trial_row(trial, run.store))
    if todo:
        session.run_trials(FixedTrials(todo, run.budget_tracker), run)


def is_search_complete(sweep: Sweep, store: Store) -> bool:
    """Return whether a search has ended."""
    return is_exhausted(sweep, load_proposal_records(sweep, store.study_folder(sweep.name)))


def is_unrunnable(trial: PlannedTrial, store: Store) -> bool:
    """Return whether a proposed trial can never be trained. Its row says so, and a run does not retry it."""
    record = read_record(store.record_path(trial.fingerprint)) if trial.role == "explore" else None
    return record is not None and record.failure is not None and record.failure.kind == "bad-input"


def plan_search_data(sweeps: list[Sweep], store: Store) -> list[PlannedTrial]:
    """Plan one trial for each data set that these searches may train on."""
    trials: dict[str, PlannedTrial] = {}
    for sweep in sweeps:
        planner = Planner(sweep, store)
        choices = {axis: sweep.searched[axis].choice or [] for axis in DATA_AXES if axis in sweep.searched}
        fixed = {axis: values[0] for axis, values in sweep.axes.items()}
        for model in sweep.axes["model"]:
            for values in itertools.product(*choices.values()):
                chosen = dict(zip(choices, values, strict=True))
                trial = planner.plan_trial(make_trial(sweep, fixed | {"model": model} | chosen))
                trials.setdefault(trial.data_fingerprint, trial)
    return list(trials.values())
