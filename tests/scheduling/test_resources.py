"""Allocations never exceed the cluster, and all workers of a trial are placed or none."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from cluster_requests import FOUR, GANG, HALF, ONE, clusters, requests
from hypothesis import given
from hypothesis import strategies as st

from sweeper.scheduling import Node, ResourceLedger, ResourceRequest


def check_ledger(ledger: ResourceLedger, placed: dict[str, tuple[ResourceRequest, tuple[str, ...]]]) -> None:
    """Against a count of its own: what is booked on a living node is what is missing there, and no device is over."""
    assert ledger.placements == {key: names for key, (_, names) in placed.items()}
    for name, (cpus, gpus) in ledger.list_free_resources().items():
        assert cpus >= 0
        assert all(0 <= gpu <= 1 for gpu in gpus)
        (node,) = [node for node in ledger.nodes if node.name == name]
        assert len(gpus) == node.gpus


@given(nodes=clusters(), steps=st.data())
def test_ledger_never_overcommits_and_returns_everything(nodes: list[Node], steps: st.DataObject) -> None:
    ledger, placed = ResourceLedger(nodes), dict[str, tuple[ResourceRequest, tuple[str, ...]]]()
    for i in range(steps.draw(st.integers(1, 20))):
        what = steps.draw(st.sampled_from(["place", "place", "place", "release", "shrink", "update"]))
        if what == "place":
            need, before = steps.draw(requests()), ledger.list_free_resources()
            names = ledger.place(f"t{i}", need)
            assert names is None or (len(names) == need.workers and ledger.fits_empty_cluster(need))
            if names is None:
                assert ledger.list_free_resources() == before
            else:
                placed[f"t{i}"] = need, names
                after = ledger.list_free_resources()
                for name, workers in Counter(names).items():
                    assert abs(before[name][0] - after[name][0] - workers * need.cpus) < 1e-3
                    used = [a - b for a, b in zip(before[name][1], after[name][1], strict=True)]
                    assert abs(sum(used) - workers * need.gpus) < 1e-3
                    assert sum(part > 0 for part in used) == (workers if need.gpus else 0)
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
        check_ledger(ledger, placed)
    for key in placed:
        ledger.release(key)
    assert ledger.list_free_resources() == {node.name: (node.cpus, (1.0,) * node.gpus) for node in ledger.nodes}


def test_place_puts_two_halves_on_one_gpu() -> None:
    ledger = ResourceLedger([FOUR])
    for key in "xyz":
        ledger.place(key, HALF)
    assert ledger.list_free_resources()["a"] == (13, (0, 0.5, 1, 1))
    assert ledger.utilization == 1.5 / 4


def test_place_does_not_split_a_fraction_over_gpus() -> None:
    ledger = ResourceLedger([Node("a", 8, 2)])
    assert ledger.place("x", ResourceRequest(1, 1, 0.7))
    assert ledger.place("y", ResourceRequest(1, 1, 0.7))
    assert ledger.place("z", HALF) is None  # 0.6 of a GPU is free, on two devices
    assert ledger.place("w", ResourceRequest(1, 1, 0.3))


@pytest.mark.parametrize("parts", [3, 6, 7, 9])
def test_place_fits_equal_parts_into_one_gpu(parts: int) -> None:
    ledger = ResourceLedger([Node("a", 1, 1)])
    for i in range(parts):
        assert ledger.place(str(i), ResourceRequest(1, 1 / parts, 1 / parts))
    assert ledger.place("more", ResourceRequest(1, 0.01, 0.01)) is None


def test_place_prefers_a_shared_gpu_for_a_fraction() -> None:
    ledger = ResourceLedger([Node("one", 8, 1), Node("four", 8, 4)])
    ledger.place("whole", ONE)
    assert ledger.place("x", HALF) == ("four",)
    ledger.release("whole")
    assert ledger.place("y", HALF) == ("four",)


def test_place_takes_a_whole_gpu_from_the_fullest_node() -> None:
    ledger = ResourceLedger([FOUR, Node("b", 16, 2), Node("c", 16, 1)])
    assert [ledger.place(key, ONE) for key in "xyz"] == [("c",), ("b",), ("b",)]


def test_place_puts_several_workers_on_the_tightest_node() -> None:
    ledger = ResourceLedger([Node("b", 16, 3), Node("c", 16, 8), FOUR])
    assert ledger.place("x", GANG) == ("a",) * 4
    assert ledger.place("y", GANG) == ("c",) * 4


def test_place_spreads_workers_over_few_nodes_or_places_none() -> None:
    ledger = ResourceLedger([Node("b", 16, 1), Node("c", 16, 2), Node("d", 16, 1), Node("e", 16, 2)])
    assert ledger.place("too large", ResourceRequest(7, 1, 1)) is None
    assert ledger.utilization == 0
    assert sorted(ledger.place("x", GANG) or ()) == ["c", "c", "e", "e"]
    assert ledger.place("y", ResourceRequest(3, 1, 1)) is None


def test_place_counts_cores() -> None:
    ledger = ResourceLedger([Node("a", 5, 4), Node("b", 8, 0)])
    assert ledger.place("x", ResourceRequest(4, 2, 1)) is None
    assert ledger.place("y", ResourceRequest(2, 2, 1)) == ("a", "a")
    assert ledger.place("z", ResourceRequest(1, 2, 1)) is None


def test_place_keeps_cpu_trials_off_gpu_nodes() -> None:
    assert ResourceLedger([FOUR, Node("b", 20, 0)]).place("x", ResourceRequest(1, 1, 0)) == ("b",)


def test_place_avoids_nodes() -> None:
    ledger = ResourceLedger([FOUR, Node("b", 16, 1)])
    assert ledger.place("x", ONE, avoid={"b"}) == ("a",)
    assert ledger.place("y", ONE, avoid={"a", "b"}) is None


def test_shrink_keeps_the_first_worker() -> None:
    ledger = ResourceLedger([FOUR])
    ledger.place("x", GANG)
    ledger.shrink("x", ResourceRequest(1, 1, 0.5))
    assert ledger.list_free_resources()["a"] == (15, (0.5, 1, 1, 1))
    with pytest.raises(ValueError, match="cannot shrink"):
        ledger.shrink("x", ONE)
    ledger.shrink("x", ResourceRequest(1, 1, 0))
    ledger.release("x")
    assert ledger.utilization == 0


def test_ledger_refuses_unknown_and_repeated_keys() -> None:
    ledger = ResourceLedger([FOUR])
    with pytest.raises(KeyError):
        ledger.release("x")
    ledger.place("x", ONE)
    with pytest.raises(ValueError, match="already"):
        ledger.place("x", ONE)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 2), (2, 1, 0.5), (1, 1, -1), (1, math.nan, 1)])
def test_resource_request_refuses_impossible_amounts(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="GPU"):
        ResourceRequest(*wrong)


def test_utilization_is_nan_without_gpus() -> None:
    assert math.isnan(ResourceLedger([Node("a", 4, 0)]).utilization)


def test_update_nodes_returns_the_trials_of_a_lost_node() -> None:
    ledger = ResourceLedger([Node("a", 8, 2), Node("b", 8, 2)])
    ledger.place("gang", GANG)
    assert ledger.update_nodes([Node("a", 8, 2)]) == ["gang"]
    assert ledger.utilization == 1
    ledger.release("gang")
    assert ledger.utilization == 0


def test_release_on_a_dead_node_does_not_reach_its_successor() -> None:
    ledger = ResourceLedger([FOUR])
    ledger.place("x", GANG)
    ledger.update_nodes([])
    ledger.update_nodes([FOUR])
    ledger.release("x")
    assert ledger.list_free_resources()["a"] == (16, (1, 1, 1, 1))


def test_update_nodes_adds_a_node_that_joins() -> None:
    ledger = ResourceLedger([Node("b", 8, 1)])
    assert not ledger.fits_empty_cluster(GANG)
    assert ledger.update_nodes([Node("b", 8, 1), FOUR]) == []
    assert ledger.fits_empty_cluster(GANG)
    assert ledger.place("x", GANG) == ("a",) * 4
