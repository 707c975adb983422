"""The search for the closest sets equals a comparison of all pairs, and its time grows with the number of sets."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.data.near_duplicates import ClosestSetSearch

SETS = st.frozensets(st.sampled_from("abcdefgh"), max_size=8)


def find_closest(given_sets: list[frozenset[str]], stream: list[frozenset[str]], threshold: float) -> dict[int, object]:
    search = ClosestSetSearch(dict(enumerate(given_sets)), threshold)
    for place, elements in enumerate(stream):
        search.offer(elements, str(place))
    return dict(search.closest)


def compare_all_pairs(
    given_sets: list[frozenset[str]], stream: list[frozenset[str]], threshold: float
) -> dict[int, object]:
    closest: dict[int, object] = {}
    for key, elements in enumerate(given_sets):
        best = 0.0
        for place, other in enumerate(stream):
            similarity = len(elements & other) / len(elements | other) if elements | other else 1.0
            if similarity >= threshold and similarity > best:
                best, closest[key] = similarity, (similarity, str(place))
    return closest


@settings(max_examples=400, deadline=None)
@given(
    st.lists(SETS, max_size=8),
    st.lists(SETS, max_size=12),
    st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 1.0]),
)
def test_search_equals_a_comparison_of_all_pairs(
    given_sets: list[frozenset[str]], stream: list[frozenset[str]], threshold: float
) -> None:
    assert find_closest(given_sets, stream, threshold) == compare_all_pairs(given_sets, stream, threshold)


@pytest.mark.parametrize("threshold", [0.7, 0.95])
def test_time_grows_with_the_sets_in_a_crowd_of_near_duplicates(threshold: float) -> None:
    """Every pair of 8,000 a side shares 15 of 18 elements: all 64 million compared would take minutes."""

    def make_crowd(side: str) -> list[frozenset[str]]:
        common = [f"common{k}" for k in range(15)]
        return [frozenset([*common, *(f"{side}{i}.{k}" for k in range(3))]) for i in range(8_000)]

    started = time.monotonic()
    closest = find_closest(make_crowd("given"), make_crowd("stream"), threshold)
    assert time.monotonic() - started < 20
    assert set(closest.values()) == ({(15 / 21, "0")} if threshold == 0.7 else set())
    assert len(closest) == (8_000 if threshold == 0.7 else 0)
