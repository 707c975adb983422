"""Never over-committed, gangs whole or not at all, everything ends, and what was passed over has its turn."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import UsageError
from sweeper.scheduling.trial_queue import (
    Node,
    QueuedTrial,
    ResourceLedger,
    ResourceRequest,
    Schedule,
    TrialQueue,
    count_max_concurrent,
    longest_first,
    simulate_schedule,
)

HALF, ONE, GANG = ResourceRequest(1, 1, 0.5), ResourceRequest(1, 1, 1), ResourceRequest(4, 1, 1)
FOUR = Node("a", 16, 4)


def needs() -> st.SearchStrategy[ResourceRequest]:
    fractions = st.sampled_from([0, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1])
    singles = st.builds(ResourceRequest, st.just(1), st.sampled_from([0.5, 1, 2, 5]), fractions)
    return singles | st.builds(
        ResourceRequest, st.integers(2, 6), st.sampled_from([0.5, 1, 2]), st.sampled_from([0, 1])
    )


def clusters(least: int = 1) -> st.SearchStrategy[list[Node]]:
    sizes = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=least, max_size=5)
    return sizes.map(lambda found: [Node(f"n{i}", *size) for i, size in enumerate(found)])


def check(ledger: ResourceLedger, placed: dict[str, tuple[ResourceRequest, tuple[str, ...]]]) -> None:
    """Against a count of its own: what is booked on a living node is what is missing there, and no device is over."""
    assert ledger.placements == {key: names for key, (_, names) in placed.items()}
    for name, (cpus, gpus) in ledger.list_free_resources().items():
        assert cpus >= 0
        assert all(0 <= gpu <= 1 for gpu in gpus)
        (node,) = [node for node in ledger.nodes if node.name == name]
        assert len(gpus) == node.gpus


@given(nodes=clusters(), steps=st.data())
def test_nothing_is_ever_over_committed_and_all_of_it_comes_back(nodes: list[Node], steps: st.DataObject) -> None:
    ledger, placed = ResourceLedger(nodes), dict[str, tuple[ResourceRequest, tuple[str, ...]]]()
    for i in range(steps.draw(st.integers(1, 20))):
        what = steps.draw(st.sampled_from(["place", "place", "place", "release", "shrink", "update"]))
        if what == "place":
            need, before = steps.draw(needs()), ledger.list_free_resources()
            names = ledger.place(f"t{i}", need)
            assert names is None or (len(names) == need.workers and ledger.fits_empty_cluster(need))
            if names is None:
                assert ledger.list_free_resources() == before
            else:
                placed[f"t{i}"] = need, names
                after = ledger.list_free_resources()
                for name, workers in Counter(names).items():
                    assert abs(before[name][0] - after[name][0] - workers * need.cpus) < 1e-3
                    taken = [a - b for a, b in zip(before[name][1], after[name][1], strict=True)]
                    assert abs(sum(taken) - workers * need.gpus) < 1e-3
                    assert sum(part > 0 for part in taken) == (workers if need.gpus else 0)
        elif placed and what == "release":
            key = steps.draw(st.sampled_from(sorted(placed)))
            ledger.release(key)
            del placed[key]
        elif placed and what == "shrink":
            key = steps.draw(st.sampled_from(sorted(placed)))
            need, names = placed[key]
            smaller = ResourceRequest(1, need.cpus / 2, need.gpus)
            ledger.shrink(key, smaller)
            placed[key] = smaller, names[:1]
        elif what == "update":
            dead = set(steps.draw(st.lists(st.sampled_from([node.name for node in ledger.nodes]), max_size=1)))
            here = {node.name for node in ledger.nodes}
            lost = ledger.update_nodes([*(n for n in ledger.nodes if n.name not in dead), Node(f"new{i}", 4, 2)])
            assert here - dead <= set(ledger.list_free_resources())
            assert {key for key, (_, names) in placed.items() if set(names) & dead} <= set(lost)
        check(ledger, placed)
    for key in placed:
        ledger.release(key)
    assert ledger.list_free_resources() == {node.name: (node.cpus, (1.0,) * node.gpus) for node in ledger.nodes}


@given(nodes=clusters(), asked=st.lists(needs(), max_size=30), seed=st.integers(0, 9))
def test_every_job_that_fits_the_empty_cluster_ends_within_what_is_there(
    nodes: list[Node], asked: list[ResourceRequest], seed: int
) -> None:
    rng, ledger = random.Random(seed), ResourceLedger(nodes)
    jobs = [
        QueuedTrial(str(i), need, rng.uniform(1, 9)) for i, need in enumerate(asked) if ledger.fits_empty_cluster(need)
    ]
    found = simulate_schedule(nodes, jobs, patience=seed)
    assert sorted(run.key for run in found.trials) == sorted(job.key for job in jobs)
    assert found.makespan >= found.lower_bound * (1 - 1e-9)
    assert at_any_time_within(found, nodes, {job.key: job.request for job in jobs})
    assert not jobs or found.makespan <= sum(job.seconds for job in jobs) * (1 + 1e-9)


def at_any_time_within(found: Schedule, nodes: list[Node], needs: dict[str, ResourceRequest]) -> bool:
    """Counted from the schedule alone, node by node."""
    for node in nodes:
        for moment in {run.start for run in found.trials}:
            cpus = gpus = Fraction(0)
            for run in found.trials:
                if run.start <= moment < run.end:
                    workers = run.nodes.count(node.name)
                    cpus += workers * Fraction(needs[run.key].cpus)
                    gpus += workers * Fraction(needs[run.key].gpus)
            if cpus > node.cpus or gpus > node.gpus + Fraction(1, 100):
                return False
    return True


class TestPlaces:
    def test_two_halves_share_a_gpu_and_the_third_takes_another(self) -> None:
        ledger = ResourceLedger([FOUR])
        for key in "xyz":
            ledger.place(key, HALF)
        assert ledger.list_free_resources()["a"] == (13, (0, 0.5, 1, 1))
        assert ledger.utilization == 1.5 / 4

    def test_a_half_and_seven_tenths_never_share_though_their_sum_is_there(self) -> None:
        ledger = ResourceLedger([Node("a", 8, 2)])
        assert ledger.place("x", ResourceRequest(1, 1, 0.7))
        assert ledger.place("y", ResourceRequest(1, 1, 0.7))
        assert ledger.place("z", HALF) is None  # 0.6 of a GPU is free, on two devices
        assert ledger.place("w", ResourceRequest(1, 1, 0.3))

    @pytest.mark.parametrize("parts", [3, 6, 7, 9])
    def test_so_many_parts_are_one(self, parts: int) -> None:
        ledger = ResourceLedger([Node("a", 1, 1)])
        for i in range(parts):
            assert ledger.place(str(i), ResourceRequest(1, 1 / parts, 1 / parts))
        assert ledger.place("more", ResourceRequest(1, 0.01, 0.01)) is None

    def test_fractions_go_where_a_gpu_is_shared_already_even_on_a_larger_node(self) -> None:
        ledger = ResourceLedger([Node("one", 8, 1), Node("four", 8, 4)])
        ledger.place("whole", ONE)
        assert ledger.place("x", HALF) == ("four",)
        ledger.release("whole")
        assert ledger.place("y", HALF) == ("four",)

    def test_one_gpu_goes_to_the_fullest_node_that_has_it(self) -> None:
        ledger = ResourceLedger([FOUR, Node("b", 16, 2), Node("c", 16, 1)])
        assert [ledger.place(key, ONE) for key in "xyz"] == [("c",), ("b",), ("b",)]

    def test_a_gang_takes_one_node_where_it_can_and_the_tightest(self) -> None:
        ledger = ResourceLedger([Node("b", 16, 3), Node("c", 16, 8), FOUR])
        assert ledger.place("x", GANG) == ("a",) * 4
        assert ledger.place("y", GANG) == ("c",) * 4

    def test_else_as_few_as_can_be_and_all_or_nothing(self) -> None:
        ledger = ResourceLedger([Node("b", 16, 1), Node("c", 16, 2), Node("d", 16, 1), Node("e", 16, 2)])
        assert ledger.place("too large", ResourceRequest(7, 1, 1)) is None
        assert ledger.utilization == 0
        assert sorted(ledger.place("x", GANG) or ()) == ["c", "c", "e", "e"]
        assert ledger.place("y", ResourceRequest(3, 1, 1)) is None

    def test_cores_count_too(self) -> None:
        ledger = ResourceLedger([Node("a", 5, 4), Node("b", 8, 0)])
        assert ledger.place("x", ResourceRequest(4, 2, 1)) is None
        assert ledger.place("y", ResourceRequest(2, 2, 1)) == ("a", "a")
        assert ledger.place("z", ResourceRequest(1, 2, 1)) is None

    def test_trials_without_a_gpu_stay_away_from_them(self) -> None:
        assert ResourceLedger([FOUR, Node("b", 20, 0)]).place("x", ResourceRequest(1, 1, 0)) == ("b",)

    def test_what_is_avoided_is_not_used(self) -> None:
        ledger = ResourceLedger([FOUR, Node("b", 16, 1)])
        assert ledger.place("x", ONE, avoid={"b"}) == ("a",)
        assert ledger.place("y", ONE, avoid={"a", "b"}) is None

    def test_shrunk_to_its_first_worker(self) -> None:
        ledger = ResourceLedger([FOUR])
        ledger.place("x", GANG)
        ledger.shrink("x", ResourceRequest(1, 1, 0.5))
        assert ledger.list_free_resources()["a"] == (15, (0.5, 1, 1, 1))
        with pytest.raises(ValueError, match="cannot shrink"):
            ledger.shrink("x", ONE)
        ledger.shrink("x", ResourceRequest(1, 1, 0))
        ledger.release("x")
        assert ledger.utilization == 0

    def test_unknown_and_repeated_keys_are_refused(self) -> None:
        ledger = ResourceLedger([FOUR])
        with pytest.raises(KeyError):
            ledger.release("x")
        ledger.place("x", ONE)
        with pytest.raises(ValueError, match="already"):
            ledger.place("x", ONE)

    @pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 2), (2, 1, 0.5), (1, 1, -1), (1, math.nan, 1)])
    def test_needs_that_cannot_be(self, wrong: tuple[int, float, float]) -> None:
        with pytest.raises(ValueError, match="GPU"):
            ResourceRequest(*wrong)

    def test_a_cluster_without_gpus_has_no_utilisation(self) -> None:
        assert math.isnan(ResourceLedger([Node("a", 4, 0)]).utilization)


class TestNodesComeAndGo:
    def test_a_lost_node_names_its_trials_and_their_other_places_stay_booked(self) -> None:
        ledger = ResourceLedger([Node("a", 8, 2), Node("b", 8, 2)])
        ledger.place("gang", GANG)
        assert ledger.update_nodes([Node("a", 8, 2)]) == ["gang"]
        assert ledger.utilization == 1
        ledger.release("gang")
        assert ledger.utilization == 0

    def test_what_is_returned_to_a_dead_node_does_not_reach_its_successor(self) -> None:
        ledger = ResourceLedger([FOUR])
        ledger.place("x", GANG)
        ledger.update_nodes([])
        ledger.update_nodes([FOUR])
        ledger.release("x")
        assert ledger.list_free_resources()["a"] == (16, (1, 1, 1, 1))

    def test_a_node_that_joins_is_used_and_changes_what_could_ever_run(self) -> None:
        ledger = ResourceLedger([Node("b", 8, 1)])
        assert not ledger.fits_empty_cluster(GANG)
        assert ledger.update_nodes([Node("b", 8, 1), FOUR]) == []
        assert ledger.fits_empty_cluster(GANG)
        assert ledger.place("x", GANG) == ("a",) * 4

    def test_a_gang_on_a_spot_node_is_tried_again_before_all_others(self) -> None:
        queue = TrialQueue([FOUR], [QueuedTrial("x", GANG, 5), QueuedTrial("y", GANG, 4), QueuedTrial("z", GANG, 9)])
        assert queue.next_placement() == ("z", ("a",) * 4)
        assert queue.update_nodes([Node("b", 16, 4)]) == ["z"]
        queue.requeue("z")
        assert queue.waiting_keys == ["z", "x", "y"]
        assert queue.next_placement() == ("z", ("b",) * 4)


class TestOrder:
    def test_the_longest_first_then_gpus_then_cores_and_the_rest_as_given(self) -> None:
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
        keys = [job.key for job in longest_first(jobs)]
        assert keys == ["unknown", "half", "gang", "long", "cpus", "cpu", "short", "same"]

    def test_the_first_that_fits_is_next(self) -> None:
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

    def test_a_list_with_one_key_twice_is_refused(self) -> None:
        with pytest.raises(ValueError, match="twice"):
            TrialQueue([FOUR], [QueuedTrial("x", ONE), QueuedTrial("x", ONE)])


class TestPatience:
    """A gang of two nodes, and a long row of small ones that never leave both free together."""

    def first_start_of_the_gang(self, patience: int | None) -> int:
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

    def test_passed_over_for_too_long_it_has_nodes_kept_for_it(self) -> None:
        soon, late = self.first_start_of_the_gang(5), self.first_start_of_the_gang(50)
        assert 0 < soon < 15
        assert soon < late < 65
        assert self.first_start_of_the_gang(10**6) > 190

    def test_the_default_is_bounded_too(self) -> None:
        assert 0 < self.first_start_of_the_gang(None) < 20

    def test_others_go_on_beside_the_claimed_nodes(self) -> None:
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

    def test_a_claimed_node_that_dies_is_replaced(self) -> None:
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

    def test_nothing_is_kept_for_what_the_cluster_of_now_cannot_hold(self) -> None:
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


class TestSimulation:
    def test_sixty_mixed_trials_end_on_full_gpus(self) -> None:
        jobs = [
            QueuedTrial(f"{kind}{i}", need, 60 + i)
            for kind, need in (("h", HALF), ("o", ONE), ("g", GANG))
            for i in range(20)
        ]
        found = simulate_schedule([Node("a", 32, 4), Node("b", 32, 4)], jobs)
        assert len(found.trials) == 60
        assert found.efficiency > 0.9
        assert found.utilization > 0.9
        assert found.peak_concurrency <= count_max_concurrent([Node("a", 32, 4), Node("b", 32, 4)], jobs) == 16

    def test_times_are_those_of_a_schedule_made_by_hand(self) -> None:
        found = simulate_schedule(
            [FOUR],
            [
                QueuedTrial("g", GANG, 10),
                QueuedTrial("x", ONE, 7),
                QueuedTrial("y", HALF, 3),
                QueuedTrial("z", HALF, 3),
            ],
        )
        assert [(run.key, run.start, run.end) for run in found.trials] == [
            ("g", 0, 10),
            ("x", 10, 17),
            ("y", 10, 13),
            ("z", 10, 13),
        ]
        assert (found.makespan, found.longest_seconds, found.peak_concurrency) == (17, 10, 3)
        assert found.lower_bound == pytest.approx((40 + 7 + 3) / 4)
        assert found.utilization == pytest.approx(50 / (4 * 17))
        assert found.efficiency == pytest.approx(12.5 / 17)

    def test_what_fits_no_node_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"(?s)trial wide.*5 workers of 1 CPU and 1 GPU each"):
            simulate_schedule([FOUR], [QueuedTrial("x", ONE, 1), QueuedTrial("wide", ResourceRequest(5, 1, 1), 1)])

    def test_unknown_seconds_are_refused_not_guessed(self) -> None:
        with pytest.raises(ValueError, match="nan seconds"):
            simulate_schedule([FOUR], [QueuedTrial("x", ONE)])

    def test_nothing_to_do_takes_no_time(self) -> None:
        found = simulate_schedule([FOUR], [])
        assert (found.makespan, found.peak_concurrency) == (0, 0)
        assert math.isnan(found.utilization)
        assert math.isnan(found.efficiency)

    def test_ten_thousand_trials_on_64_nodes_take_seconds(self) -> None:
        rng = random.Random(0)
        jobs = [QueuedTrial(str(i), (HALF, ONE, GANG)[i % 3], rng.uniform(50, 150)) for i in range(10_000)]
        nodes = [Node(f"n{i}", 48, 4) for i in range(64)]
        started = time.process_time()
        found = simulate_schedule(nodes, jobs)
        assert time.process_time() - started < 10  # 0.7 s on a quiet core
        assert found.efficiency > 0.9


class TestMostAtOnce:
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
    def test_the_smallest_first_until_full(self, jobs: list[ResourceRequest], most: int) -> None:
        assert count_max_concurrent([FOUR], [QueuedTrial(str(i), need) for i, need in enumerate(jobs)]) == most


def test_a_phase_begins_when_the_one_before_has_ended() -> None:
    nodes = [Node("n", 2, 0)]
    jobs = [
        QueuedTrial("trunk", ResourceRequest(1, 1, 0), 10.0),
        QueuedTrial("long", ResourceRequest(1, 1, 0), 30.0),
        QueuedTrial("branch", ResourceRequest(1, 1, 0), 5.0, 1),
    ]
    found = simulate_schedule(nodes, jobs)
    assert {run.key: run.start for run in found.trials} == {"trunk": 0.0, "long": 0.0, "branch": 30.0}
    assert (found.makespan, found.longest_seconds, found.peak_concurrency) == (35.0, 30.0, 2)
    assert simulate_schedule(nodes, []).makespan == 0.0
