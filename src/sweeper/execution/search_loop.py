"""A search of a study: what it proposes is trained until nothing is left to propose, then the best on fresh seeds."""

from __future__ import annotations

import contextlib
import itertools

from sweeper.config import DATA_AXES, Sweep, make_trial
from sweeper.execution.backends.base import BackendSession
from sweeper.execution.budget_tracker import BudgetTracker
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.trial_source import FixedTrials, SearchTrials
from sweeper.planning.branching import delete_branch_checkpoints, restarted_from_scratch
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.planning.planner import Planner
from sweeper.results.study_tables import is_finished, read_trial_row
from sweeper.search import JOURNAL_FILE, count_planned_trials, is_exhausted, load_proposal_records
from sweeper.storage import Store
from sweeper.tracking import TrackerName
from sweeper.training import read_record


def run_search(
    sweep: Sweep,
    plan: Plan,
    store: Store,
    session: BackendSession,
    budget_tracker: BudgetTracker,
    tracking: TrackerName,
    display: ProgressDisplay,
) -> None:
    """Run a search to its end, going on with one that was broken off; then train the best again on fresh seeds."""
    folder = store.study_folder(sweep.name)
    planner, entries = Planner(sweep, store), load_proposal_records(sweep, folder)
    before: dict[str, str] = {}
    retried = []
    known = {entry.proposal.key: entry for entry in entries}
    retold = {(entry.proposal.group, entry.retried_number) for entry in entries}
    ended_unseen = []
    for trial in planner.plan_search():
        entry = known.get(trial.proposal.key) if trial.proposal and trial.role != "confirm" else None
        if entry is None:
            continue
        if entry.fingerprint:
            before.setdefault(trial.fingerprint, entry.proposal.key)
        if entry.state == "RUNNING" or is_unrunnable(trial, store):
            continue
        if not is_finished(trial, store):
            retried.append(trial)
        elif entry.state == "FAIL" and (entry.proposal.group, entry.proposal.number) not in retold:
            ended_unseen.append(trial)  # a driver died between its end and its telling
    if retried or ended_unseen or not is_exhausted(sweep, entries):
        with contextlib.ExitStack() as held:
            if sweep.name != plan.sweep.name:  # a part of a union, which someone may be running by itself
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(store.lock_folder(folder, timeout=0))
            found = session.open_search(sweep, folder)
            for trial in ended_unseen:
                if trial.proposal:
                    found.tell(trial.proposal, read_trial_row(trial, store))
            agenda = SearchTrials(
                found,
                planner,
                store,
                budget_tracker,
                proposal_keys=before,
                retries=retried,
                read_finished_row=lambda trial: read_trial_row(trial, store) if is_finished(trial, store) else None,
                on_trial=display.add_trial,
            )
            display.print_line(
                f"{sweep.name}: searching, {len(known)} of {count_planned_trials(sweep)} trials proposed before"
            )
            try:
                session.run_trials(agenda, plan, store, tracking, display)
            finally:
                store.push(folder / JOURNAL_FILE)
    if sweep.search and sweep.search.pbt_config and is_search_complete(sweep, store):
        members = [trial for trial in Planner(sweep, store).plan_search() if trial.role != "confirm"]
        delete_branch_checkpoints(members, store)
        if anew := restarted_from_scratch(members, store):
            display.print_line(
                f"{sweep.name}: {len(anew)} members that go on from others were trained from the start, whose "
                f"checkpoints were gone or damaged: {', '.join(anew)}"
            )
    if is_search_complete(sweep, store):
        confirming = [trial for trial in Planner(sweep, store).plan_search() if trial.role == "confirm"]
        todo = [trial for trial in confirming if not is_finished(trial, store)]
        for trial in confirming:
            display.add_trial(trial, None if trial in todo else read_trial_row(trial, store))
        if todo:
            session.run_trials(FixedTrials(todo, budget_tracker), plan, store, tracking, display)


def is_search_complete(sweep: Sweep, store: Store) -> bool:
    """Whether a search has ended."""
    return is_exhausted(sweep, load_proposal_records(sweep, store.study_folder(sweep.name)))


def is_unrunnable(trial: PlannedTrial, store: Store) -> bool:
    """Whether what a search proposed cannot be trained at all: then it is a row, and nothing waits for it."""
    record = read_record(store.record_path(trial.fingerprint)) if trial.role == "explore" else None
    return record is not None and record.failure is not None and record.failure.kind == "bad-input"


def datasets_of_searches(sweeps: list[Sweep], store: Store) -> list[PlannedTrial]:
    """One trial for each data set that these searches may train on."""
    found: dict[str, PlannedTrial] = {}
    for sweep in sweeps:
        planner = Planner(sweep, store)
        listed = {axis: sweep.searched[axis].choice or [] for axis in DATA_AXES if axis in sweep.searched}
        fixed = {axis: values[0] for axis, values in sweep.axes.items()}
        for model in sweep.axes["model"]:
            for values in itertools.product(*listed.values()):
                cut = dict(zip(listed, values, strict=True))
                trial = planner.plan_trial(make_trial(sweep, fixed | {"model": model} | cut))
                found.setdefault(trial.data_fingerprint, trial)
    return list(found.values())
