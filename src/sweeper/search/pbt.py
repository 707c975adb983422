"""Asynchronous population based training with truncation selection (Jaderberg et al. 2017, arXiv 1711.09846).

At a rung the worst members stop. Each is replaced by a new member that continues from one of the best with perturbed
values. All state is read from the history, so that a restarted search decides the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from sweeper.config import RUNTIME_TUNABLES, PbtConfig, SearchedAxis, Sweep
from sweeper.search.history import ProposalRecord
from sweeper.search.space import AxisValue, count_planned_per_group, require_search

if TYPE_CHECKING:
    from numpy.random import Generator

MAX_PERTURBATIONS = 100
"""Attempts to perturb the values of a parent, for when clipping to an axis's range leaves them unchanged."""


@dataclass(frozen=True)
class Vacancy:
    """The place of a member that has ended and can be replaced."""

    replaced_number: int
    """Number of the member that ended."""
    step: int
    """The last rung of that member at which there is a parent to continue from, optimizer steps."""
    parents: tuple[int, ...]
    """Numbers of the best members at that rung; empty while too few have been there."""


class Population:
    """The members so far of one group of a search."""

    def __init__(self, sweep: Sweep, records: Iterable[ProposalRecord]) -> None:
        self.pbt_config = require_search(sweep).pbt_config or PbtConfig()
        self.max_members = count_planned_per_group(sweep)
        # A failed member and its retry are one member, under the first number.
        self.records: dict[int, ProposalRecord] = {}
        for record in records:
            if record.state != "DUPLICATE":
                number = record.proposal.number if record.retried_number is None else record.retried_number
                self.records[number] = record
        self._replaced_numbers = {record.replaced_number for record in self.records.values()}

    @property
    def missing_initial_members(self) -> int:
        """Members of the initial population that are not proposed yet."""
        return self.pbt_config.population - sum(record.proposal.parent is None for record in self.records.values())

    def should_stop(self, number: int, step: int, loss: float) -> bool:
        """Decide whether a member stops at a rung and makes room for another.

        It stops if it is in the worst quantile of all members that have been at this rung, and the search has a
        proposal left to replace it. The first members to reach a rung have no others to be compared with there. They
        are compared at their last rung that enough members have reached. Otherwise a bad member that arrives first
        would never stop, and would occupy the worst ranks that later members are measured against.

        Args:
            number: the member.
            step: the rung, optimizer steps.
            loss: validation loss of the member there.
        """
        record = self.records.get(number)
        own_losses = (record.rung_losses if record else {}) | {step: loss}
        for rung in sorted(own_losses, reverse=True):
            losses = self._collect_losses(rung) | {number: own_losses[rung]}
            if count := self.pbt_config.count_quantile(len(losses)):
                return number in _rank_members(losses)[-count:] and self._remaining_proposals > 0
        return False

    def find_vacancies(self) -> list[Vacancy]:
        """List the places that can be filled now: first those of stopped members, then, while proposals are left,
        those of members that diverged after a rung."""
        pruned = [(number, record) for number, record in self.records.items() if record.state == "PRUNED"]
        unfilled = [(number, record) for number, record in pruned if number not in self._replaced_numbers]
        stopped = [self._find_vacancy(number, record) for number, record in unfilled if record.proposal.is_stopped]
        diverged = [self._find_vacancy(number, record) for number, record in unfilled if not record.proposal.is_stopped]
        vacancies = [*stopped, *diverged[: max(0, self._remaining_proposals)]]
        return [vacancy for vacancy in vacancies if vacancy.parents]

    def _find_vacancy(self, number: int, record: ProposalRecord) -> Vacancy:
        for step in sorted({*record.rung_losses, record.proposal.branch_step}, reverse=True):
            losses = self._collect_losses(step)
            best = _rank_members(losses)[: self.pbt_config.count_quantile(len(losses))]
            if parents := tuple(number for number in best if _is_eligible_parent(self.records[number])):
                return Vacancy(number, step, parents)
        return Vacancy(number, 0, ())

    def _collect_losses(self, step: int) -> dict[int, float]:
        return {
            number: record.rung_losses[step] for number, record in self.records.items() if step in record.rung_losses
        }

    @property
    def _remaining_proposals(self) -> int:
        """Proposals left after the initial population is complete and every stopped member is replaced."""
        unreplaced = sum(
            record.proposal.is_stopped and number not in self._replaced_numbers
            for number, record in self.records.items()
        )
        return self.max_members - len(self.records) - max(0, self.missing_initial_members) - unreplaced


def perturb(
    sweep: Sweep, group: str, vacancy: Vacancy, population: Population, number: int
) -> tuple[int, dict[str, AxisValue]]:
    """Draw the parent and the values of a new member.

    Args:
        group: the group of the population.
        vacancy: the place it fills.
        population: the members so far.
        number: the number of the new proposal. It seeds the draw, so that a restarted search draws the same.

    Returns:
        The number of the parent, and the values of all searched axes. Only axes that can change during a run
        (`RUNTIME_TUNABLES`) differ from the parent's.
    """
    import numpy as np

    rng = np.random.default_rng(zlib.crc32(f"{require_search(sweep).seed} {group} {number} goes on".encode()))
    parent = vacancy.parents[int(rng.integers(len(vacancy.parents)))]
    before = population.records[parent].proposal.values
    values = before
    for _ in range(MAX_PERTURBATIONS):
        values = before | {
            axis: _perturb_value(sweep.searched[axis], before[axis], population.pbt_config, rng)
            for axis in RUNTIME_TUNABLES
            if axis in sweep.searched and axis in before
        }
        if values != before:
            break
    return parent, values


def _perturb_value(searched_axis: SearchedAxis, value: AxisValue, pbt_config: PbtConfig, rng: Generator) -> AxisValue:
    """Resample the value, move it by one place in its list, or multiply it by one of the factors."""
    if rng.random() < pbt_config.resample_probability:
        return _sample_value(searched_axis, rng)
    if searched_axis.choice is not None:
        place = searched_axis.choice.index(value) + (1 if rng.random() < 0.5 else -1)
        neighbor: AxisValue = searched_axis.choice[min(max(place, 0), len(searched_axis.choice) - 1)]
        return neighbor
    if value is None:  # `null` (clipping switched off) cannot be multiplied
        return None
    factor = pbt_config.factors[int(rng.integers(len(pbt_config.factors)))]
    return _clip_to_bounds(searched_axis, float(value) * factor)


def _sample_value(searched_axis: SearchedAxis, rng: Generator) -> AxisValue:
    """Draw a value from the axis's distribution."""
    kind = searched_axis.kind
    if kind == "choice":
        choices = searched_axis.choice or []
        drawn: AxisValue = choices[int(rng.integers(len(choices)))]
        return drawn
    if searched_axis.or_null and rng.random() < 0.5:
        return None
    low, high = searched_axis.bounds
    match kind:
        case "loguniform" | "int_loguniform":
            return _clip_to_bounds(searched_axis, math.exp(rng.uniform(math.log(low), math.log(high))))
        case "uniform" | "int_uniform":
            return _clip_to_bounds(searched_axis, rng.uniform(low, high))
        case _:
            assert_never(kind)


def _clip_to_bounds(searched_axis: SearchedAxis, value: float) -> float:
    low, high = searched_axis.bounds
    clipped = float(min(max(value, low), high))
    return round(clipped) if searched_axis.is_integer else clipped


def _is_eligible_parent(record: ProposalRecord) -> bool:
    """Return whether others can continue from a member: it has not diverged or failed since its rung."""
    return record.state in ("RUNNING", "COMPLETE") or record.proposal.is_stopped


def _rank_members(losses: dict[int, float]) -> Sequence[int]:
    """Sort numbers from best to worst. Of equal losses the earlier number is better, NaN is worst."""
    return sorted(losses, key=lambda number: (math.isnan(losses[number]), losses[number], number))
