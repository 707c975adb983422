"""Resources of a cluster, requests of trials, and the allocations between them. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

UNITS_PER_DEVICE = 10_000
"""Cores and GPUs are counted in ten-thousandths, as in Ray. Three thirds then make one, and sums do not drift."""


@dataclass(frozen=True)
class Node:
    """A node and the cores and GPUs it advertises."""

    name: str
    cpus: float
    gpus: int


@dataclass(frozen=True)
class ResourceRequest:
    """Resources that a trial needs at the same time: workers, each with some cores and at most one GPU."""

    workers: int
    cpus: float
    gpus: float

    def __post_init__(self) -> None:
        if self.workers < 1 or not 0 < self.cpus < math.inf or not 0 <= self.gpus <= 1:
            raise ValueError(f"{self}: a request has at least one worker, CPUs above 0, and at most one GPU per worker")
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(f"{self}: only a trial with one worker can have a fraction of a GPU")

    @property
    def total_cpus(self) -> float:
        """Cores of all workers."""
        return self.workers * self.cpus

    @property
    def total_gpus(self) -> float:
        """GPUs of all workers."""
        return self.workers * self.gpus

    def __str__(self) -> str:
        each = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)} and {self.gpus:g} GPU{'s' * (self.gpus != 1)}"
        return each if self.workers == 1 else f"{self.workers} workers of {each} each"


class _NodeState:
    """Free resources of a node.

    A dead node keeps its object, so that later releases there do not reach a new node of the same name.
    """

    __slots__ = ("cpus", "gpus", "is_alive", "largest_free", "node", "whole_gpus")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpus = _to_units(node.cpus)
        self.gpus = [UNITS_PER_DEVICE] * node.gpus
        self.whole_gpus = node.gpus
        # Free units of the GPU with most free, so that full nodes are skipped quickly.
        self.largest_free = UNITS_PER_DEVICE if node.gpus else 0
        self.is_alive = True

    def allocate(self, cpus: int, gpus: int, device: int | None) -> None:
        """Allocate units, or release them if negative."""
        self.cpus -= cpus
        if device is not None:
            self.gpus[device] -= gpus
            self.whole_gpus = self.gpus.count(UNITS_PER_DEVICE)
            self.largest_free = max(self.gpus)

    def count_free_workers(self, cpus: int, gpus: int) -> int:
        """Count the workers with whole GPUs that fit now."""
        by_cpus = self.cpus // cpus
        return min(self.whole_gpus, by_cpus) if gpus else by_cpus


@dataclass
class _WorkerAllocation:
    """Resources of a node that are allocated to one worker."""

    node_state: _NodeState
    cpus: int
    gpus: int
    device: int | None


def _to_units(amount: float) -> int:
    # Rounded down so that six sixths fit, but never to nothing.
    return max(math.floor(amount * UNITS_PER_DEVICE + 1e-6), 1) if amount else 0


class ResourceLedger:
    """Allocations of a cluster by GPU: two halves share a GPU, while 0.5 and 0.7 do not.

    Args:
        nodes: the nodes of the cluster.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._node_states: dict[str, _NodeState] = {}
        self._allocations: dict[str, list[_WorkerAllocation]] = {}
        self._fits_cache: dict[ResourceRequest, bool] = {}
        self.update_nodes(nodes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the cluster."""
        return tuple(node_state.node for node_state in self._node_states.values())

    @property
    def placements(self) -> dict[str, tuple[str, ...]]:
        """Trial key -> the node of each worker."""
        return {
            key: tuple(allocation.node_state.node.name for allocation in allocations)
            for key, allocations in self._allocations.items()
        }

    def list_free_resources(self) -> dict[str, tuple[float, tuple[float, ...]]]:
        """Return, by node, the free cores and the free share of each GPU."""
        return {
            name: (node_state.cpus / UNITS_PER_DEVICE, tuple(gpu / UNITS_PER_DEVICE for gpu in node_state.gpus))
            for name, node_state in self._node_states.items()
        }

    @property
    def utilization(self) -> float:
        """Allocated share of the cluster's GPUs; NaN without GPUs."""
        total = UNITS_PER_DEVICE * sum(len(node_state.gpus) for node_state in self._node_states.values())
        unused = sum(sum(node_state.gpus) for node_state in self._node_states.values())
        return 1 - unused / total if total else math.nan

    def place(self, key: str, request: ResourceRequest, avoid: Collection[str] = ()) -> tuple[str, ...] | None:
        """Allocate all workers of a trial, or none.

        Best fit: a fraction of a GPU is taken from the shared GPU with least left, one whole GPU from the node with
        fewest to spare. Several workers get one node if possible, else as few nodes as possible.

        Args:
            key: the trial.
            request: what it needs.
            avoid: nodes that are not used.

        Returns:
            The node of each worker, or None if they do not all fit now.

        Raises:
            ValueError: the trial is placed already.
        """
        if key in self._allocations:
            raise ValueError(f"{key} is already placed")
        candidates: Iterable[_NodeState] = self._node_states.values()
        if avoid:
            candidates = [node_state for name, node_state in self._node_states.items() if name not in avoid]
        allocations = (
            _allocate_multi_worker(candidates, request)
            if request.workers > 1
            else _allocate_single(candidates, request)
        )
        if allocations is None:
            return None
        for allocation in allocations:
            allocation.node_state.allocate(allocation.cpus, allocation.gpus, allocation.device)
        self._allocations[key] = allocations
        return tuple(allocation.node_state.node.name for allocation in allocations)

    def release(self, key: str) -> None:
        """Release everything that a trial has.

        Raises:
            KeyError: it has nothing.
        """
        for allocation in self._allocations.pop(key):
            allocation.node_state.allocate(-allocation.cpus, -allocation.gpus, allocation.device)

    def shrink(self, key: str, request: ResourceRequest) -> None:
        """Reduce a trial to its first worker: a trial with several workers is evaluated by one.

        Args:
            key: the trial.
            request: what the first worker keeps, at most what it has.

        Raises:
            KeyError: the trial has nothing.
            ValueError: the request has several workers, or is larger than what the first worker has.
        """
        first, *others = self._allocations[key]
        cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
        if request.workers != 1 or cpus > first.cpus or gpus > first.gpus:
            raise ValueError(f"{key} cannot shrink to {request}: that is more than its first worker has")
        for allocation in others:
            allocation.node_state.allocate(-allocation.cpus, -allocation.gpus, allocation.device)
        device = first.device if gpus else None
        first.node_state.allocate(cpus - first.cpus, gpus - first.gpus, first.device)
        self._allocations[key] = [_WorkerAllocation(first.node_state, cpus, gpus, device)]

    def update_nodes(self, nodes: Iterable[Node]) -> list[str]:
        """Replace the nodes of the cluster. A node that returns with another size is a new one.

        Returns:
            Keys of the trials that lost a node. They keep their other nodes until released.
        """
        before, self._node_states = self._node_states, {}
        for node in nodes:
            old = before.get(node.name)
            self._node_states[node.name] = old if old is not None and old.node == node else _NodeState(node)
        for name, node_state in before.items():
            node_state.is_alive = self._node_states.get(name) is node_state
        self._fits_cache.clear()
        return [
            key
            for key, allocations in self._allocations.items()
            if not all(allocation.node_state.is_alive for allocation in allocations)
        ]

    def fits_empty_cluster(self, request: ResourceRequest) -> bool:
        """Return whether a request fits the current cluster when nothing else runs."""
        if request not in self._fits_cache:
            empty = [_NodeState(node) for node in self.nodes]
            self._fits_cache[request] = (
                _allocate_multi_worker(empty, request) if request.workers > 1 else _allocate_single(empty, request)
            ) is not None
        return self._fits_cache[request]

    def choose_nodes_to_reserve(self, request: ResourceRequest) -> frozenset[str]:
        """Choose the fewest nodes that would hold a request if nothing else ran there, those with most free now first.

        Returns:
            Names of the nodes; empty if the whole cluster cannot hold it.
        """
        cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
        candidates = []
        for node_state in self._node_states.values():
            empty = _NodeState(node_state.node)
            fits = (
                empty.count_free_workers(cpus, gpus)
                if request.workers > 1
                else int(_allocate_single([empty], request) is not None)
            )
            if fits:
                candidates.append(
                    (min(fits, request.workers), sum(node_state.gpus), node_state.cpus, node_state.node.name)
                )
        chosen: list[str] = []
        missing = request.workers
        for fits, _, _, name in sorted(candidates, key=lambda c: (-c[0], -c[1], -c[2])):
            if missing > 0:
                chosen.append(name)
                missing -= fits
        return frozenset(chosen) if missing <= 0 else frozenset()


def _allocate_single(node_states: Iterable[_NodeState], request: ResourceRequest) -> list[_WorkerAllocation] | None:
    cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
    best: tuple[tuple[int, ...], _NodeState, int | None] | None = None
    for node_state in node_states:
        if node_state.cpus < cpus or node_state.largest_free < gpus:
            continue
        device: int | None = None
        if gpus == 0:  # leave the cores of nodes with free GPUs to trials that need both
            score: tuple[int, ...] = (node_state.whole_gpus, node_state.cpus)
        else:
            left = min(free for free in node_state.gpus if free >= gpus)
            device = node_state.gpus.index(left)
            # A shared GPU before a whole one, whichever node it is on.
            score = (int(left == UNITS_PER_DEVICE), left, node_state.whole_gpus, node_state.cpus)
        if best is None or score < best[0]:
            best = score, node_state, device
    return None if best is None else [_WorkerAllocation(best[1], cpus, gpus, best[2])]


def _allocate_multi_worker(
    node_states: Iterable[_NodeState], request: ResourceRequest
) -> list[_WorkerAllocation] | None:
    cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
    open_nodes = (node for node in node_states if node.cpus >= cpus and node.largest_free >= gpus)
    capacities = [(count, node) for node in open_nodes if (count := node.count_free_workers(cpus, gpus)) > 0]
    if sum(count for count, _ in capacities) < request.workers:
        return None
    capacities.sort(key=lambda pair: -pair[0])
    allocations: list[_WorkerAllocation] = []
    while len(allocations) < request.workers:
        missing = request.workers - len(allocations)
        # The node with least capacity that holds all the rest; if none does, the one with most.
        sufficient = [i for i, (count, _) in enumerate(capacities) if count >= missing]
        count, node_state = capacities.pop(min(sufficient, key=lambda i: capacities[i][0], default=0))
        whole = [i for i, free in enumerate(node_state.gpus) if free == UNITS_PER_DEVICE]
        allocations += [
            _WorkerAllocation(node_state, cpus, gpus, whole[i] if gpus else None) for i in range(min(count, missing))
        ]
    return allocations
