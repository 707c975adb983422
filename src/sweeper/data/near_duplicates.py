"""The most similar of a stream of sets for each of many given sets: exact, and without comparing all pairs.

Two sets whose Jaccard similarity exceeds a bound have a least overlap. With the elements of all sets in one order,
rarest first, they then share an element among the first few of each: with 18 elements a side and a bound of 0.7, among
the first four (prefix filter: Chaudhuri et al. 2006; Bayardo et al. 2007). Only such pairs are compared. The bound of a
set rises with the best found for it, so that the prefix of a set in a crowd of near duplicates soon has rare elements
only, which the crowd does not share. What stays quadratic are sets all made of few elements, none of them rare.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


@dataclass
class _GivenSet(Generic[KeyT]):
    """One distinct set of those given."""

    elements: frozenset[str]
    keys: list[KeyT]
    """What it is called; several given sets may be equal."""
    ranks: list[int]
    """Its elements' places in the common order, ascending."""
    bound: float
    """A set of the stream must be more similar than this."""


class ClosestSetSearch(Generic[KeyT]):
    """Finds, for each given set, the first of the most similar sets of a stream. The stream is not kept.

    Args:
        given: key -> set.
        threshold: Jaccard similarity from which a set is found.

    Example:
        >>> search = ClosestSetSearch({"x": frozenset("abcd"), "y": frozenset("wxyz")}, threshold=0.5)
        >>> search.offer(frozenset("abc"), "first")
        >>> search.offer(frozenset("abcde"), "second")
        >>> search.closest
        {'x': (0.8, 'second')}
    """

    def __init__(self, given: Mapping[KeyT, frozenset[str]], threshold: float) -> None:
        self.closest: dict[KeyT, tuple[float, str]] = {}
        """Key -> (similarity, name of the set in the stream); without an entry where no set reaches the threshold."""
        self._lowest_bound = math.nextafter(max(threshold, math.ulp(0.0)), 0.0)
        keys: defaultdict[frozenset[str], list[KeyT]] = defaultdict(list)
        for key, elements in given.items():
            keys[elements].append(key)
        counts = Counter(element for elements in keys for element in elements)
        order = sorted(counts, key=lambda element: (counts[element], element))
        self._ranks = {element: rank for rank, element in enumerate(order)}
        self._sets = {
            elements: _GivenSet(elements, names, sorted(map(self._ranks.__getitem__, elements)), self._lowest_bound)
            for elements, names in keys.items()
        }
        # Sets of which the filter asks the same are together: rank -> (size, bound, place of the rank) -> sets.
        self._index: defaultdict[int, dict[tuple[int, float, int], set[frozenset[str]]]] = defaultdict(dict)
        self._overlaps: dict[tuple[int, float], int] = {}
        for given_set in self._sets.values():
            self._add_to_index(given_set)

    def offer(self, elements: frozenset[str], name: str) -> None:
        """Compare the next set of the stream with the given ones.

        Args:
            elements: the set.
            name: what `closest` calls it.
        """
        if (same := self._sets.get(elements)) is not None:
            self._record(same, 1.0, name)
        for candidate in self._find_candidates(elements):
            overlap = len(candidate & elements)
            similarity = overlap / (len(candidate) + len(elements) - overlap)
            if similarity > (given_set := self._sets[candidate]).bound:
                self._record(given_set, similarity, name)

    def _find_candidates(self, elements: frozenset[str]) -> set[frozenset[str]]:
        """Return the given sets that share an element of both prefixes with a set."""
        size, found = len(elements), set[frozenset[str]]()
        ranks = sorted(rank for element in elements if (rank := self._ranks.get(element)) is not None)
        last = size - self._count_shared_with_subset(size, self._lowest_bound)
        # Elements that no given set has are the rarest: they come first in the common order.
        for place, rank in enumerate(ranks, size - len(ranks)):
            if place > last:
                break
            for (other_size, bound, other_place), sets in self._index.get(rank, {}).items():
                needed = self._count_shared(size + other_size, bound)
                if needed <= size - place and needed <= other_size - other_place:
                    found |= sets
        return found

    def _record(self, given_set: _GivenSet[KeyT], similarity: float, name: str) -> None:
        if similarity > given_set.bound:
            self._remove_from_index(given_set)
            given_set.bound = similarity
            self._add_to_index(given_set)
            for key in given_set.keys:
                self.closest[key] = (similarity, name)

    def _add_to_index(self, given_set: _GivenSet[KeyT]) -> None:
        size, bound = len(given_set.ranks), given_set.bound
        for place, rank in enumerate(self._select_prefix(given_set)):
            self._index[rank].setdefault((size, bound, place), set()).add(given_set.elements)

    def _remove_from_index(self, given_set: _GivenSet[KeyT]) -> None:
        size, bound = len(given_set.ranks), given_set.bound
        for place, rank in enumerate(self._select_prefix(given_set)):
            sets = self._index[rank][size, bound, place]
            sets.remove(given_set.elements)
            if not sets:
                del self._index[rank][size, bound, place]

    def _select_prefix(self, given_set: _GivenSet[KeyT]) -> list[int]:
        size = len(given_set.ranks)
        return given_set.ranks[: size - self._count_shared_with_subset(size, given_set.bound) + 1]

    def _count_shared_with_subset(self, size: int, bound: float) -> int:
        """Return the least overlap with a set of any size: that with a subset, which has nothing else."""
        shared = max(0, math.floor(bound * size) - 1)
        while shared <= size and shared / max(size, 1) <= bound:
            shared += 1
        return shared

    def _count_shared(self, sizes: int, bound: float) -> int:
        """Return the least overlap of two sets of so many elements together that exceeds a bound below 1."""
        if (needed := self._overlaps.get((sizes, bound))) is None:
            needed = max(0, math.floor(bound * sizes / (1 + bound)) - 1)
            while needed / (sizes - needed) <= bound:
                needed += 1
            self._overlaps[sizes, bound] = needed
        return needed
