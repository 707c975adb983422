"""Proposals that a search has still to make: whether there are any, and placeholders to estimate their cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from sweeper.config import Sweep
from sweeper.search.history import ProposalRecord
from sweeper.search.pbt import Population, perturb
from sweeper.search.space import (
    Proposal,
    count_planned_per_group,
    list_groups,
    list_initial_points,
    require_search,
    suggest_values,
)

MAX_REDRAWS = 100
"""After this many duplicates in a row, the search space counts as exhausted."""


def is_exhausted(sweep: Sweep, records: Sequence[ProposalRecord]) -> bool:
    """Return whether every proposal was made and has ended, or nothing new is left to propose."""
    if any(record.state == "RUNNING" for record in records):
        return False
    return not any(_has_proposals_left(sweep, _select_group(records, group)) for group in list_groups(sweep))


def _has_proposals_left(sweep: Sweep, records: Sequence[ProposalRecord]) -> bool:
    newest_first = sorted(records, key=lambda record: -record.proposal.number)
    if count_leading_true(record.state == "DUPLICATE" for record in newest_first) >= MAX_REDRAWS:
        return False
    if require_search(sweep).pbt_config:
        population = Population(sweep, records)
        return population.missing_initial_members > 0 or bool(population.find_vacancies())
    retries = sum(record.retried_number is not None for record in records)
    duplicates = sum(record.state == "DUPLICATE" for record in records)
    return len(records) - duplicates - retries < count_planned_per_group(sweep)


def sample_placeholders(sweep: Sweep, records: Sequence[ProposalRecord]) -> list[Proposal]:
    """Draw random proposals in place of those still to be made.

    The draw is the same at every call. The baselines of a search that has not started are left out: the plan already
    lists them.
    """
    if is_exhausted(sweep, records):
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    placeholders: list[Proposal] = []
    for group in list_groups(sweep):
        own = _select_group(records, group)
        made = len([r for r in own if r.state != "DUPLICATE" and r.retried_number is None])
        planned = 0 if made else sum(point.is_baseline for point in list_initial_points(sweep, group))
        population = Population(sweep, own) if require_search(sweep).pbt_config else None
        missing = population.missing_initial_members if population else count_planned_per_group(sweep) - made
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=require_search(sweep).seed))
        for _ in range(missing - planned):
            trial = study.ask()
            placeholders.append(Proposal(group, trial.number, False, suggest_values(trial, sweep, group)))
        if population is None:
            continue
        # A member that continues from another trains only the steps that the member it replaces has left.
        for vacancy in population.find_vacancies():
            number = len(own) + len(placeholders)
            parent, values = perturb(sweep, group, vacancy, population, number)
            parent_proposal = population.records[parent].proposal
            placeholders.append(
                Proposal(group, number, False, values, parent=parent_proposal, branch_step=vacancy.step)
            )
    return placeholders


def _select_group(records: Iterable[ProposalRecord], group: str) -> list[ProposalRecord]:
    return [record for record in records if record.proposal.group == group]


def count_leading_true(flags: Iterable[bool]) -> int:
    """Count the true flags before the first false one."""
    return sum(1 for _ in itertools.takewhile(bool, flags))
