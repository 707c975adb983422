"""What was proposed and what became of it: the best of it, whether there is more to come, and stand-ins for that."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sweeper.config import Sweep
from sweeper.search.entries import ProposalRecord, read_proposal_records
from sweeper.search.pbt import Population, perturb
from sweeper.search.space import (
    Proposal,
    count_planned_trials,
    initial_points,
    require_search,
    search_groups,
    suggest_values,
)
from sweeper.search.storage import check_study_matches, format_study_name, is_search_started, open_storage

MAX_REDRAWS = 100
"""A proposal that was made before is drawn anew so often; then the space is taken to be exhausted."""


def load_search_history(sweep: Sweep, folder: Path) -> list[ProposalRecord]:
    """All proposals of a search so far, in the order in which they were made; empty before it starts."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = sweep.search
    if search is None or not is_search_started(search, folder):
        return []
    storage = open_storage(search, folder)
    entries = []
    for group in search_groups(sweep):
        try:
            study = optuna.load_study(study_name=format_study_name(sweep, group), storage=storage)
        except KeyError:  # none of that name yet
            continue
        check_study_matches(study, sweep)
        entries += read_proposal_records(study.get_trials(deepcopy=False), sweep, group)
    return [entry for _, entry in sorted(entries, key=lambda pair: (pair[0], pair[1].proposal.key))]


def build_search_document(sweep: Sweep, folder: Path) -> dict[str, Any] | None:
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
        "planned": count_planned_trials(sweep),
        "trials": [
            {
                "proposal": entry.proposal.key,
                "model": entry.proposal.group or entry.proposal.values.get("model") or sweep.axes["model"][0],
                "anchor": entry.proposal.is_baseline,
                "state": entry.state,
                "values": entry.values,
                "rungs": entry.rung_losses,
                "fingerprint": entry.fingerprint,
                "retry_of": entry.retried_number,
                "axes": entry.proposal.values,
                **(_build_lineage(entry.proposal) if search.pbt_config else {}),
            }
            for entry in load_search_history(sweep, folder)
        ],
    }


def _build_lineage(proposal: Proposal) -> dict[str, Any]:
    """Of a population's member: `axes` are what it ends with, and `changes` what led there."""
    parent = proposal.parent
    return {
        "goes_on_from": parent.key if parent else None,
        "at_step": proposal.branch_step if parent else None,
        "begins_with": proposal.initial_values,
        "changes": proposal.changes,
    }


def select_finalists(sweep: Sweep, records: list[ProposalRecord]) -> dict[str, list[ProposalRecord]]:
    """Group -> the best of its COMPLETE entries, the best first; of two metrics, those no other is better than in
    both, by the first metric. The anchor comes last where it is not among them."""
    search = require_search(sweep)
    top = sweep.confirm.top if sweep.confirm else 1
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in search.directions]
    found = {}
    for group in search_groups(sweep):
        own = [e for e in records if e.proposal.group == group and e.state == "COMPLETE" and e.values]
        scored = [([sign * v for sign, v in zip(signs, e.values or [], strict=True)], e) for e in own]
        best = [(score, e) for score, e in scored if not any(_dominates(other, score) for other, _ in scored)]
        ranked = sorted(best if len(signs) > 1 else scored, key=lambda pair: (pair[0], pair[1].proposal.number))
        chosen = [entry for _, entry in ranked[:top]]
        anchors = [entry for entry in own if entry.proposal.is_baseline and entry not in chosen]
        found[group] = chosen + anchors
    return found


def is_exhausted(sweep: Sweep, records: list[ProposalRecord]) -> bool:
    """Whether every proposal was made and has ended, or nothing new was left to propose."""
    if any(entry.state == "RUNNING" for entry in records):
        return False
    groups = search_groups(sweep)
    for group in groups:
        own = [entry for entry in records if entry.proposal.group == group]
        drawn = [entry for entry in own if entry.state == "DUPLICATE"]
        made = len(own) - len(drawn) - sum(entry.retried_number is not None for entry in own)
        again = leading_true(entry.state == "DUPLICATE" for entry in sorted(own, key=lambda e: -e.proposal.number))
        members = Population(sweep, own) if require_search(sweep).pbt_config else None
        lacking = made < count_planned_trials(sweep) // len(groups)
        if (
            members.missing_initial_members > 0 or members.find_vacancies() if members else lacking
        ) and again < MAX_REDRAWS:
            return False
    return True


def sample_placeholders(sweep: Sweep, records: list[ProposalRecord]) -> list[Proposal]:
    """Stand-ins for the proposals still to be made: drawn at random, the same at every call."""
    if is_exhausted(sweep, records):
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    groups, found = search_groups(sweep), []
    for group in groups:
        own = [entry for entry in records if entry.proposal.group == group]
        made = len([e for e in own if e.state != "DUPLICATE" and e.retried_number is None])
        waiting = 0 if made else sum(anchor for _, anchor in initial_points(sweep, group))  # the plan has them already
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=require_search(sweep).seed))
        # A member that goes on from another one trains what the one whose place it took has left.
        members = Population(sweep, own) if require_search(sweep).pbt_config else None
        lacking = members.missing_initial_members if members else count_planned_trials(sweep) // len(groups) - made
        for _ in range(lacking - waiting):
            trial = study.ask()
            found.append(Proposal(group, trial.number, False, suggest_values(trial, sweep, group)))
        if members is None:
            continue
        for place in members.find_vacancies():
            number = len(own) + len(found)
            parent, values = perturb(sweep, group, place, members, number)
            found.append(Proposal(group, number, False, values, False, members.records[parent].proposal, place.step))
    return found


def _dominates(first: list[float], second: list[float]) -> bool:
    """Whether the first is nowhere worse and somewhere better; lower is better."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def leading_true(flags: Iterable[bool]) -> int:
    """How many of the first are true."""
    return sum(1 for _ in itertools.takewhile(bool, flags))
