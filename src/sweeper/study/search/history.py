"""What was proposed and what became of it: the best of it, whether there is more to come, and stand-ins for that."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sweeper.spec import Sweep
from sweeper.study.search.entries import Entry, entries_of
from sweeper.study.search.population import Members, explored
from sweeper.study.search.space import Proposal, asked_by, first_points, groups_of, suggest, trials_planned
from sweeper.study.search.storage import check_question, has_begun, storage_of, study_name

REDRAWS = 100
"""A proposal that was made before is drawn anew so often; then the space is taken to be exhausted."""


def history(sweep: Sweep, folder: Path) -> list[Entry]:
    """All proposals of a search so far, in the order in which they were made; empty before it starts."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = sweep.search
    if search is None or not has_begun(search, folder):
        return []
    storage = storage_of(search, folder)
    entries = []
    for group in groups_of(sweep):
        try:
            study = optuna.load_study(study_name=study_name(sweep, group), storage=storage)
        except KeyError:  # none of that name yet
            continue
        check_question(study, sweep)
        entries += entries_of(study.get_trials(deepcopy=False), sweep, group)
    return [entry for _, entry in sorted(entries, key=lambda pair: (pair[0], pair[1].proposal.key))]


def search_document(sweep: Sweep, folder: Path) -> dict[str, Any] | None:
    """What `search history --json` prints: the search, and its proposals in order; None for a sweep without one."""
    if sweep.search is None:
        return None
    search = sweep.search
    return {
        "study": sweep.name,
        "algorithm": search.algorithm,
        "scheduler": search.scheduler,
        "metrics": search.metrics,
        "directions": list(search.directions),
        "planned": trials_planned(sweep),
        "trials": [
            {
                "proposal": entry.proposal.key,
                "model": entry.proposal.group or entry.proposal.values.get("model") or sweep.axes["model"][0],
                "anchor": entry.proposal.anchor,
                "state": entry.state,
                "values": entry.values,
                "rungs": entry.rungs,
                "fingerprint": entry.fingerprint,
                "retry_of": entry.retry_of,
                "axes": entry.proposal.values,
                **(_lineage(entry.proposal) if search.population else {}),
            }
            for entry in history(sweep, folder)
        ],
    }


def _lineage(proposal: Proposal) -> dict[str, Any]:
    """Of a population's member: `axes` are what it ends with, and `changes` what led there."""
    parent = proposal.goes_on_from
    return {
        "goes_on_from": parent.key if parent else None,
        "at_step": proposal.at_step if parent else None,
        "begins_with": proposal.begins_with,
        "changes": proposal.changes,
    }


def finalists(sweep: Sweep, entries: list[Entry]) -> dict[str, list[Entry]]:
    """Group -> the best of its COMPLETE entries, the best first; of two metrics, those no other is better than in
    both, by the first metric. The anchor comes last where it is not among them."""
    search = asked_by(sweep)
    top = sweep.confirm.top if sweep.confirm else 1
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in search.directions]
    found = {}
    for group in groups_of(sweep):
        own = [e for e in entries if e.proposal.group == group and e.state == "COMPLETE" and e.values]
        scored = [([sign * v for sign, v in zip(signs, e.values or [], strict=True)], e) for e in own]
        best = [(score, e) for score, e in scored if not any(_dominates(other, score) for other, _ in scored)]
        ranked = sorted(best if len(signs) > 1 else scored, key=lambda pair: (pair[0], pair[1].proposal.number))
        chosen = [entry for _, entry in ranked[:top]]
        anchors = [entry for entry in own if entry.proposal.anchor and entry not in chosen]
        found[group] = chosen + anchors
    return found


def exhausted(sweep: Sweep, entries: list[Entry]) -> bool:
    """Whether every proposal was made and has ended, or nothing new was left to propose."""
    if any(entry.state == "RUNNING" for entry in entries):
        return False
    groups = groups_of(sweep)
    for group in groups:
        own = [entry for entry in entries if entry.proposal.group == group]
        drawn = [entry for entry in own if entry.state == "DUPLICATE"]
        made = len(own) - len(drawn) - sum(entry.retry_of is not None for entry in own)
        again = in_a_row(entry.state == "DUPLICATE" for entry in sorted(own, key=lambda e: -e.proposal.number))
        members = Members(sweep, own) if asked_by(sweep).population else None
        lacking = made < trials_planned(sweep) // len(groups)
        if (members.to_begin > 0 or members.free() if members else lacking) and again < REDRAWS:
            return False
    return True


def drawn(sweep: Sweep, entries: list[Entry]) -> list[Proposal]:
    """Stand-ins for the proposals still to be made: drawn at random, the same at every call."""
    if exhausted(sweep, entries):
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    groups, found = groups_of(sweep), []
    for group in groups:
        own = [entry for entry in entries if entry.proposal.group == group]
        made = len([e for e in own if e.state != "DUPLICATE" and e.retry_of is None])
        waiting = 0 if made else sum(anchor for _, anchor in first_points(sweep, group))  # the plan has them already
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=asked_by(sweep).seed))
        # A member that goes on from another one trains what the one whose place it took has left.
        members = Members(sweep, own) if asked_by(sweep).population else None
        lacking = members.to_begin if members else trials_planned(sweep) // len(groups) - made
        for _ in range(lacking - waiting):
            trial = study.ask()
            found.append(Proposal(group, trial.number, False, suggest(trial, sweep, group)))
        if members is None:
            continue
        for place in members.free():
            number = len(own) + len(found)
            parent, values = explored(sweep, group, place, members, number)
            found.append(Proposal(group, number, False, values, False, members.of[parent].proposal, place.step))
    return found


def _dominates(first: list[float], second: list[float]) -> bool:
    """Whether the first is nowhere worse and somewhere better; lower is better."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def in_a_row(found: Iterable[bool]) -> int:
    """How many of the first are true."""
    return sum(1 for _ in itertools.takewhile(bool, found))
