"""The order in which trials start, and reservations for those that are overtaken."""

from __future__ import annotations

import pytest
from cluster_requests import FOUR, GANG, HALF, ONE

from sweeper.scheduling import Node, QueuedTrial, ResourceRequest, TrialQueue, count_max_concurrent
from sweeper.scheduling.trial_queue import sort_longest_first


def test_requeue_puts_a_trial_before_all_others() -> None:
    queue = TrialQueue([FOUR], [QueuedTrial("x", GANG, 5), QueuedTrial("y", GANG, 4), QueuedTrial("z", GANG, 9)])
    assert queue.next_placement() == ("z", ("a",) * 4)
    assert queue.update_nodes([Node("b", 16, 4)]) == ["z"]
    queue.requeue("z")
    assert queue.waiting_keys == ["z", "x", "y"]
    assert queue.next_placement() == ("z", ("b",) * 4)


def test_sort_longest_first_breaks_ties_by_gpus_and_cores() -> None:
    jobs = [
        QueuedTrial("cpu", ResourceRequest(1, 1, 0), 20),
        QueuedTrial("cpus", ResourceRequest(1, 2, 0), 20),
        QueuedTrial("half", HALF, 30),
        QueuedTrial("long", ONE, 20),
        QueuedTrial("short", ONE, 10),
        QueuedTrial("same", ONE, 10),
        QueuedTrial("gang", GANG, 20),
        QueuedTrial("unknown", ONE),
    ]
    keys = [job.key for job in sort_longest_first(jobs)]
    assert keys == ["unknown", "half", "gang", "long", "cpus", "cpu", "short", "same"]


def test_next_placement_is_the_first_that_fits() -> None:
    queue = TrialQueue(
        [FOUR],
        [
            QueuedTrial("gang", GANG, 9),
            QueuedTrial("second", GANG, 8),
            QueuedTrial("cpu", ResourceRequest(1, 1, 0), 1),
        ],
    )
    assert [(queue.next_placement() or ("",))[0] for _ in range(3)] == ["gang", "cpu", ""]
    assert queue.waiting_keys == ["second"]
    assert set(queue.placements) == {"gang", "cpu"}
    queue.finish("gang")
    assert (queue.next_placement() or ("",))[0] == "second"


def test_add_refuses_a_repeated_key() -> None:
    with pytest.raises(ValueError, match="twice"):
        TrialQueue([FOUR], [QueuedTrial("x", ONE), QueuedTrial("x", ONE)])


def count_ends_before_the_gang(patience: int | None) -> int:
    """After how many ends of a small one it begins. At first its second node is missing."""
    jobs = [QueuedTrial("gang", GANG, 1), *(QueuedTrial(f"s{i}", ONE, 1) for i in range(200))]
    queue = TrialQueue([Node("a", 8, 2)], jobs, patience)
    queue.next_placement(), queue.next_placement()
    queue.update_nodes([Node("a", 8, 2), Node("b", 8, 2)])
    for ended in range(201):
        while queue.next_placement() is not None:
            pass
        if "gang" in queue.placements:
            assert sorted(queue.placements["gang"]) == ["a", "a", "b", "b"]
            return ended
        queue.finish(next(iter(queue.placements)))
    return -1


def test_queue_reserves_nodes_once_patience_is_exceeded() -> None:
    soon, late = count_ends_before_the_gang(5), count_ends_before_the_gang(50)
    assert 0 < soon < 15
    assert soon < late < 65
    assert count_ends_before_the_gang(10**6) > 190


def test_default_patience_is_bounded() -> None:
    assert 0 < count_ends_before_the_gang(None) < 20


def test_other_trials_run_beside_reserved_nodes() -> None:
    nodes, gang = [Node("a", 8, 4), Node("b", 2, 2)], ResourceRequest(4, 2, 1)
    jobs = [
        QueuedTrial("gang", gang, 1),
        QueuedTrial("second", gang, 1),
        *(QueuedTrial(f"s{i}", ONE, 1) for i in range(40)),
    ]
    queue = TrialQueue(nodes, jobs, patience=1)
    assert queue.next_placement() == ("gang", ("a",) * 4)
    assert queue.next_placement() == ("s0", ("b",))
    assert queue.reserved_nodes == frozenset()
    assert queue.next_placement() == ("s1", ("b",))
    assert queue.reserved_nodes == {"a"}
    queue.shrink("gang", ONE)
    assert queue.next_placement() is None  # three GPUs of the claimed node are free
    queue.finish("s0")
    assert queue.next_placement() == ("s2", ("b",))
    queue.finish("gang")
    assert queue.next_placement() == ("second", ("a",) * 4)
    assert queue.reserved_nodes == frozenset()


def test_update_nodes_replaces_a_reserved_node_that_died() -> None:
    jobs = TrialQueue(
        [FOUR, Node("b", 8, 4)],
        [QueuedTrial("g", GANG, 9), *(QueuedTrial(f"s{i}", ONE, 1) for i in range(20))],
        patience=0,
    )
    assert jobs.next_placement() == ("g", ("a",) * 4)
    for _ in range(4):
        jobs.next_placement()
    jobs.requeue("g")
    jobs.ledger.place("other", ONE)
    assert (jobs.next_placement() or ("",))[0] == "s4"
    (kept,) = jobs.reserved_nodes
    left = FOUR if kept == "b" else Node("b", 8, 4)
    jobs.update_nodes([left])
    assert jobs.reserved_nodes == {left.name}


def test_queue_reserves_nothing_for_a_trial_that_does_not_fit() -> None:
    queue = TrialQueue(
        [Node("b", 8, 1)],
        [QueuedTrial("gang", GANG, 1), *(QueuedTrial(f"s{i}", ONE, 1) for i in range(20))],
        patience=1,
    )
    for _ in range(20):
        placed = queue.next_placement()
        assert placed is not None
        assert queue.reserved_nodes == frozenset()
        queue.finish(placed[0])
    assert queue.waiting_keys == ["gang"]
    queue.update_nodes([FOUR])
    assert (queue.next_placement() or ("",))[0] == "gang"


@pytest.mark.parametrize(
    ("jobs", "most"),
    [
        ([GANG] * 9, 1),
        ([ONE] * 9, 4),
        ([HALF] * 9, 8),
        ([HALF] * 2 + [GANG] * 9, 2),
        ([ResourceRequest(1, 5, 0.5)] * 9, 3),
        ([ResourceRequest(1, 1, 0)] * 99, 16),
        ([], 0),
    ],
)
def test_count_max_concurrent_fills_the_cluster_with_the_smallest(jobs: list[ResourceRequest], most: int) -> None:
    assert count_max_concurrent([FOUR], [QueuedTrial(str(i), need) for i, need in enumerate(jobs)]) == most
