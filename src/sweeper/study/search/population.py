"""Population based training (Jaderberg et al. 2017, arXiv 1711.09846), asynchronous and with truncation selection: who
gives way at a rung, who goes on in its place from whom, and with which values. What it reads lies in the storage."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.spec import LIVE, Population, SearchedAxis, Sweep
from sweeper.study.search.entries import Entry
from sweeper.study.search.space import asked_by, groups_of, trials_planned

if TYPE_CHECKING:
    from numpy.random import Generator

TRIES = 100
"""Values are perturbed anew so often where clipping to the axis's range left them as they were."""


@dataclass(frozen=True)
class Place:
    """A member's place that is free for one who goes on from another."""

    instead_of: int
    """Its number."""
    step: int
    """The last of its rungs where there is somebody to go on from."""
    parents: tuple[int, ...]
    """Numbers of the best there; none while they are too few."""


class Members:
    """A population so far, of one group of a search."""

    def __init__(self, sweep: Sweep, entries: Iterable[Entry]) -> None:
        self.rule = asked_by(sweep).population or Population()
        self.most = trials_planned(sweep) // len(groups_of(sweep))
        # One that failed and was tried again is one member, by its first number.
        self.of: dict[int, Entry] = {}
        for entry in entries:
            if entry.state != "DUPLICATE":
                self.of[entry.proposal.number if entry.retry_of is None else entry.retry_of] = entry
        self._taken = {entry.instead_of for entry in self.of.values()}

    @property
    def to_begin(self) -> int:
        """Members of the first population that were not proposed yet."""
        return self.rule.population - sum(entry.proposal.goes_on_from is None for entry in self.of.values())

    def stops(self, number: int, step: int, loss: float) -> bool:
        """Whether a member gives way: it is among the worst of all that have been at this rung, and there is room for
        a successor. Who is among the first there is held against the others at the last rung where enough have been by
        now: else the first to come by would stay, however bad, and take the worst ranks from all who follow."""
        entry = self.of.get(number)
        own = (entry.rungs if entry else {}) | {step: loss}
        for rung in sorted(own, reverse=True):
            there = self._at(rung) | {number: own[rung]}
            if count := self.rule.count(len(there)):
                return number in _ranked(there)[-count:] and self._room > 0
        return False

    def free(self) -> list[Place]:
        """Places whose successors can be proposed: of those that gave way, and, where there is room, of those that
        diverged after a rung."""
        ended = [(number, entry) for number, entry in self.of.items() if entry.state == "PRUNED"]
        open_ = [(number, entry) for number, entry in ended if number not in self._taken]
        stopped = [self._place(number, entry) for number, entry in open_ if entry.proposal.stopped]
        diverged = [self._place(number, entry) for number, entry in open_ if not entry.proposal.stopped]
        return [place for place in (*stopped, *diverged[: max(0, self._room)]) if place.parents]

    def _place(self, number: int, entry: Entry) -> Place:
        for step in sorted({*entry.rungs, entry.proposal.at_step}, reverse=True):
            there = self._at(step)
            best = _ranked(there)[: self.rule.count(len(there))]
            if parents := tuple(number for number in best if _sound(self.of[number])):
                return Place(number, step, parents)
        return Place(number, 0, ())

    def _at(self, step: int) -> dict[int, float]:
        return {number: entry.rungs[step] for number, entry in self.of.items() if step in entry.rungs}

    @property
    def _room(self) -> int:
        """Proposals left, places that were given up already taken off."""
        given_up = sum(e.proposal.stopped and number not in self._taken for number, e in self.of.items())
        return self.most - len(self.of) - max(0, self.to_begin) - given_up


def explored(sweep: Sweep, group: str, place: Place, members: Members, number: int) -> tuple[int, dict[str, Any]]:
    """(The number of the member that proposal `number` goes on from, the values it goes on with): drawn from a stream
    of its own."""
    import numpy as np

    rng = np.random.default_rng(zlib.crc32(f"{asked_by(sweep).seed} {group} {number} goes on".encode()))
    parent = place.parents[int(rng.integers(len(place.parents)))]
    before = members.of[parent].proposal.values
    for _ in range(TRIES):
        values = before | {
            axis: _tried(sweep.searched[axis], before[axis], members.rule, rng)
            for axis in LIVE
            if axis in sweep.searched and axis in before
        }
        if values != before:
            break
    return parent, values


def _tried(how: SearchedAxis, value: Any, rule: Population, rng: Generator) -> Any:
    if rng.random() < rule.resample_probability:
        return _drawn(how, rng)
    if how.choice is not None:
        place = how.choice.index(value) + (1 if rng.random() < 0.5 else -1)
        return how.choice[min(max(place, 0), len(how.choice) - 1)]
    if value is None:  # clipping that is off has nothing to multiply
        return None
    return _within(how, value * rule.factors[int(rng.integers(len(rule.factors)))])


def _drawn(how: SearchedAxis, rng: Generator) -> Any:
    """As the axis says, uniformly."""
    if how.choice is not None:
        return how.choice[int(rng.integers(len(how.choice)))]
    if how.or_null and rng.random() < 0.5:
        return None
    low, high = how.bounds
    if how.loguniform or how.int_loguniform:
        return _within(how, math.exp(rng.uniform(math.log(low), math.log(high))))
    return _within(how, rng.uniform(low, high))


def _within(how: SearchedAxis, value: float) -> float:
    low, high = how.bounds
    kept = float(min(max(value, low), high))
    return round(kept) if how.whole else kept


def _sound(entry: Entry) -> bool:
    """Whether others can go on from it: it has neither diverged nor failed since."""
    return entry.state in ("RUNNING", "COMPLETE") or entry.proposal.stopped


def _ranked(losses: dict[int, float]) -> Sequence[int]:
    """Numbers, the best first; of equal ones the earlier. What has no loss is worst."""
    return sorted(losses, key=lambda number: (math.isnan(losses[number]), losses[number], number))
