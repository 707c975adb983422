"""Population based training (Jaderberg et al. 2017, arXiv 1711.09846), asynchronous and with truncation selection: who
gives way at a rung, who goes on in its place from whom, and with which values. What it reads lies in the storage."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.config import RUNTIME_TUNABLES, PbtConfig, SearchedAxis, Sweep
from sweeper.search.entries import ProposalRecord
from sweeper.search.space import count_planned_trials, require_search, search_groups

if TYPE_CHECKING:
    from numpy.random import Generator

MAX_PERTURBATIONS = 100
"""Values are perturbed anew so often where clipping to the axis's range left them as they were."""


@dataclass(frozen=True)
class Vacancy:
    """A member's place that is free for one who goes on from another."""

    replaced_number: int
    """Its number."""
    step: int
    """The last of its rungs where there is somebody to go on from."""
    parents: tuple[int, ...]
    """Numbers of the best there; none while they are too few."""


class Population:
    """A population so far, of one group of a search."""

    def __init__(self, sweep: Sweep, records: Iterable[ProposalRecord]) -> None:
        self.pbt_config = require_search(sweep).pbt_config or PbtConfig()
        self.max_members = count_planned_trials(sweep) // len(search_groups(sweep))
        # One that failed and was tried again is one member, by its first number.
        self.records: dict[int, ProposalRecord] = {}
        for entry in records:
            if entry.state != "DUPLICATE":
                self.records[entry.proposal.number if entry.retried_number is None else entry.retried_number] = entry
        self._filled_numbers = {entry.replaced_number for entry in self.records.values()}

    @property
    def missing_initial_members(self) -> int:
        """Members of the first population that were not proposed yet."""
        return self.pbt_config.population - sum(entry.proposal.parent is None for entry in self.records.values())

    def should_stop(self, number: int, step: int, loss: float) -> bool:
        """Whether a member gives way: it is among the worst of all that have been at this rung, and there is room for
        a successor. Who is among the first there is held against the others at the last rung where enough have been by
        now: else the first to come by would stay, however bad, and take the worst ranks from all who follow."""
        entry = self.records.get(number)
        own = (entry.rung_losses if entry else {}) | {step: loss}
        for rung in sorted(own, reverse=True):
            there = self._collect_losses(rung) | {number: own[rung]}
            if count := self.pbt_config.count_quantile(len(there)):
                return number in _rank_members(there)[-count:] and self._remaining_proposals > 0
        return False

    def find_vacancies(self) -> list[Vacancy]:
        """Places whose successors can be proposed: of those that gave way, and, where there is room, of those that
        diverged after a rung."""
        ended = [(number, entry) for number, entry in self.records.items() if entry.state == "PRUNED"]
        open_ = [(number, entry) for number, entry in ended if number not in self._filled_numbers]
        stopped = [self._find_vacancy(number, entry) for number, entry in open_ if entry.proposal.is_stopped]
        diverged = [self._find_vacancy(number, entry) for number, entry in open_ if not entry.proposal.is_stopped]
        return [place for place in (*stopped, *diverged[: max(0, self._remaining_proposals)]) if place.parents]

    def _find_vacancy(self, number: int, record: ProposalRecord) -> Vacancy:
        for step in sorted({*record.rung_losses, record.proposal.branch_step}, reverse=True):
            there = self._collect_losses(step)
            best = _rank_members(there)[: self.pbt_config.count_quantile(len(there))]
            if parents := tuple(number for number in best if _is_eligible_parent(self.records[number])):
                return Vacancy(number, step, parents)
        return Vacancy(number, 0, ())

    def _collect_losses(self, step: int) -> dict[int, float]:
        return {number: entry.rung_losses[step] for number, entry in self.records.items() if step in entry.rung_losses}

    @property
    def _remaining_proposals(self) -> int:
        """Proposals left, places that were given up already taken off."""
        given_up = sum(
            e.proposal.is_stopped and number not in self._filled_numbers for number, e in self.records.items()
        )
        return self.max_members - len(self.records) - max(0, self.missing_initial_members) - given_up


def perturb(
    sweep: Sweep, group: str, vacancy: Vacancy, population: Population, number: int
) -> tuple[int, dict[str, Any]]:
    """(The number of the member that proposal `number` goes on from, the values it goes on with): drawn from a stream
    of its own."""
    import numpy as np

    rng = np.random.default_rng(zlib.crc32(f"{require_search(sweep).seed} {group} {number} goes on".encode()))
    parent = vacancy.parents[int(rng.integers(len(vacancy.parents)))]
    before = population.records[parent].proposal.values
    for _ in range(MAX_PERTURBATIONS):
        values = before | {
            axis: _perturb_value(sweep.searched[axis], before[axis], population.pbt_config, rng)
            for axis in RUNTIME_TUNABLES
            if axis in sweep.searched and axis in before
        }
        if values != before:
            break
    return parent, values


def _perturb_value(searched_axis: SearchedAxis, value: Any, pbt_config: PbtConfig, rng: Generator) -> Any:
    if rng.random() < pbt_config.resample_probability:
        return _sample_value(searched_axis, rng)
    if searched_axis.choice is not None:
        place = searched_axis.choice.index(value) + (1 if rng.random() < 0.5 else -1)
        return searched_axis.choice[min(max(place, 0), len(searched_axis.choice) - 1)]
    if value is None:  # clipping that is off has nothing to multiply
        return None
    return _clip_to_bounds(searched_axis, value * pbt_config.factors[int(rng.integers(len(pbt_config.factors)))])


def _sample_value(searched_axis: SearchedAxis, rng: Generator) -> Any:
    """As the axis says, uniformly."""
    if searched_axis.choice is not None:
        return searched_axis.choice[int(rng.integers(len(searched_axis.choice)))]
    if searched_axis.or_null and rng.random() < 0.5:
        return None
    low, high = searched_axis.bounds
    if searched_axis.loguniform or searched_axis.int_loguniform:
        return _clip_to_bounds(searched_axis, math.exp(rng.uniform(math.log(low), math.log(high))))
    return _clip_to_bounds(searched_axis, rng.uniform(low, high))


def _clip_to_bounds(searched_axis: SearchedAxis, value: float) -> float:
    low, high = searched_axis.bounds
    kept = float(min(max(value, low), high))
    return round(kept) if searched_axis.is_integer else kept


def _is_eligible_parent(record: ProposalRecord) -> bool:
    """Whether others can go on from it: it has neither diverged nor failed since."""
    return record.state in ("RUNNING", "COMPLETE") or record.proposal.is_stopped


def _rank_members(losses: dict[int, float]) -> Sequence[int]:
    """Numbers, the best first; of equal ones the earlier. What has no loss is worst."""
    return sorted(losses, key=lambda number: (math.isnan(losses[number]), losses[number], number))
