"""A search of a study: what it proposes is trained until nothing is left to propose, then the best on fresh seeds."""

from __future__ import annotations

import contextlib
import itertools

from sweeper.spec import DATA_AXES, Sweep, cell
from sweeper.store import Store
from sweeper.study.agenda import Exploration, Listed
from sweeper.study.backend import Started
from sweeper.study.branches import remove_points, trained_anew
from sweeper.study.collect import finished, row_of
from sweeper.study.costs.purse import Purse
from sweeper.study.plan import Plan, PlannedTrial, Planner
from sweeper.study.progress import ProgressDisplay
from sweeper.study.search import JOURNAL, exhausted, history, trials_planned
from sweeper.tracking import Tracking
from sweeper.trial import read_record


def explore_and_confirm(
    sweep: Sweep,
    plan: Plan,
    store: Store,
    started: Started,
    purse: Purse,
    tracking: Tracking,
    display: ProgressDisplay,
) -> None:
    """Run a search to its end, going on with one that was broken off; then train the best again on fresh seeds."""
    folder = store.study(sweep.name)
    planner, entries = Planner(sweep, store), history(sweep, folder)
    before: dict[str, str] = {}
    retried = []
    known = {entry.proposal.key: entry for entry in entries}
    retold = {(entry.proposal.group, entry.retry_of) for entry in entries}
    ended_unseen = []
    for trial in planner.searched():
        entry = known.get(trial.proposal.key) if trial.proposal and trial.role != "confirm" else None
        if entry is None:
            continue
        if entry.fingerprint:
            before.setdefault(trial.fingerprint, entry.proposal.key)
        if entry.state == "RUNNING" or in_vain(trial, store):
            continue
        if not finished(trial, store):
            retried.append(trial)
        elif entry.state == "FAIL" and (entry.proposal.group, entry.proposal.number) not in retold:
            ended_unseen.append(trial)  # a driver died between its end and its telling
    if retried or ended_unseen or not exhausted(sweep, entries):
        with contextlib.ExitStack() as held:
            if sweep.name != plan.sweep.name:  # a part of a union, which someone may be running by itself
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(store.lock(folder, timeout=0))
            found = started.search(sweep, folder)
            for trial in ended_unseen:
                if trial.proposal:
                    found.told(trial.proposal, row_of(trial, store))
            agenda = Exploration(
                found,
                planner,
                store,
                purse,
                before=before,
                retried=retried,
                finished=lambda trial: row_of(trial, store) if finished(trial, store) else None,
                tell=display.proposed,
            )
            display.say(f"{sweep.name}: searching, {len(known)} of {trials_planned(sweep)} trials proposed before")
            try:
                started.run(agenda, plan, store, tracking, display)
            finally:
                store.push(folder / JOURNAL)
    if sweep.search and sweep.search.population and explored(sweep, store):
        members = [trial for trial in Planner(sweep, store).searched() if trial.role != "confirm"]
        remove_points(members, store)
        if anew := trained_anew(members, store):
            display.say(
                f"{sweep.name}: {len(anew)} members that go on from others were trained from the start, whose "
                f"checkpoints were gone or damaged: {', '.join(anew)}"
            )
    if explored(sweep, store):
        confirming = [trial for trial in Planner(sweep, store).searched() if trial.role == "confirm"]
        todo = [trial for trial in confirming if not finished(trial, store)]
        for trial in confirming:
            display.proposed(trial, None if trial in todo else row_of(trial, store))
        if todo:
            started.run(Listed(todo, purse), plan, store, tracking, display)


def explored(sweep: Sweep, store: Store) -> bool:
    """Whether a search has ended."""
    return exhausted(sweep, history(sweep, store.study(sweep.name)))


def in_vain(trial: PlannedTrial, store: Store) -> bool:
    """Whether what a search proposed cannot be trained at all: then it is a row, and nothing waits for it."""
    record = read_record(store.record(trial.fingerprint)) if trial.role == "explore" else None
    return record is not None and record.failure is not None and record.failure.kind == "bad-input"


def data_of(sweeps: list[Sweep], store: Store) -> list[PlannedTrial]:
    """One trial for each data set that these searches may train on."""
    found: dict[str, PlannedTrial] = {}
    for sweep in sweeps:
        planner = Planner(sweep, store)
        listed = {axis: sweep.searched[axis].choice or [] for axis in DATA_AXES if axis in sweep.searched}
        fixed = {axis: values[0] for axis, values in sweep.axes.items()}
        for model in sweep.axes["model"]:
            for values in itertools.product(*listed.values()):
                cut = dict(zip(listed, values, strict=True))
                trial = planner.planned(cell(sweep, fixed | {"model": model} | cut))
                found.setdefault(trial.data, trial)
    return list(found.values())
