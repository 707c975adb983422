"""Requests and clusters for tests of scheduling, by hand and by Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from sweeper.scheduling import Node, ResourceRequest

HALF, ONE, GANG = ResourceRequest(1, 1, 0.5), ResourceRequest(1, 1, 1), ResourceRequest(4, 1, 1)
FOUR = Node("a", 16, 4)


def requests() -> st.SearchStrategy[ResourceRequest]:
    fractions = st.sampled_from([0, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1])
    singles = st.builds(ResourceRequest, st.just(1), st.sampled_from([0.5, 1, 2, 5]), fractions)
    return singles | st.builds(
        ResourceRequest, st.integers(2, 6), st.sampled_from([0.5, 1, 2]), st.sampled_from([0, 1])
    )


def clusters(least: int = 1) -> st.SearchStrategy[list[Node]]:
    sizes = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=least, max_size=5)
    return sizes.map(lambda found: [Node(f"n{i}", *size) for i, size in enumerate(found)])
