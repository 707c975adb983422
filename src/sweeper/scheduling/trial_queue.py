"""Which trial may start where, and when: one piece of code for the forecast and for the real run.

Ray counts what a trial asks for, but starts trials in the order they were made: a large one then holds up the small,
or never finds its GPUs free together. Here a trial is handed out only once it has its place, all workers or none, so
that nothing waits while it holds something, and no deadlock can arise. Pure: no Ray, no clock, no I/O.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sweeper.errors import UsageError

UNITS_PER_DEVICE = 10_000
"""Cores and GPUs are counted in ten-thousandths, as Ray does: three thirds are one, and sums of floats never drift."""


@dataclass(frozen=True)
class Node:
    """A machine, as the cluster says it is."""

    name: str
    cpus: float
    gpus: int


@dataclass(frozen=True)
class ResourceRequest:
    """What a trial takes: so many workers, each with so many cores and at most one GPU, all at the same time."""

    workers: int
    cpus: float
    gpus: float

    def __post_init__(self) -> None:
        if self.workers < 1 or not 0 < self.cpus < math.inf or not 0 <= self.gpus <= 1:
            raise ValueError(f"{self}: at least one worker, some of a core, at most one GPU each")
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(f"{self}: a fraction of a GPU is for one-worker trials")

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


@dataclass(frozen=True)
class QueuedTrial:
    """A trial that waits. `seconds` is an estimate; NaN where nothing is known."""

    key: str
    request: ResourceRequest
    seconds: float = math.nan
    phase: int = 0
    """A run hands out the trials of one phase once those of the one before have all ended."""


class _NodeState:
    """What is free on a node. One that died keeps its own object, so that what is returned to it reaches no other."""

    __slots__ = ("cpus", "gpus", "is_alive", "largest_free", "node", "whole_gpus")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpus = _to_units(node.cpus)
        self.gpus = [UNITS_PER_DEVICE] * node.gpus
        self.whole_gpus = node.gpus
        self.largest_free = (
            UNITS_PER_DEVICE if node.gpus else 0
        )  # free on its freest GPU: full nodes are passed over quickly
        self.is_alive = True

    def allocate(self, cpus: int, gpus: int, device: int | None) -> None:
        """Negative amounts give back."""
        self.cpus -= cpus
        if device is not None:
            self.gpus[device] -= gpus
            self.whole_gpus = self.gpus.count(UNITS_PER_DEVICE)
            self.largest_free = max(self.gpus)

    def count_free_workers(self, cpus: int, gpus: int) -> int:
        """Workers of a gang that it could hold now."""
        by_cpus = self.cpus // cpus
        return min(self.whole_gpus, by_cpus) if gpus else by_cpus


@dataclass
class _WorkerAllocation:
    """One worker's part of one machine."""

    node_state: _NodeState
    cpus: int
    gpus: int
    device: int | None


def _to_units(amount: float) -> int:
    # Rounded down, so that six sixths fit; what is asked for is never nothing.
    return max(math.floor(amount * UNITS_PER_DEVICE + 1e-6), 1) if amount else 0


class ResourceLedger:
    """What is free, to the GPU: two halves share one, and 0.5 + 0.7 never do."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._node_states: dict[str, _NodeState] = {}
        self._allocations: dict[str, list[_WorkerAllocation]] = {}
        self._fits_cache: dict[ResourceRequest, bool] = {}
        self.update_nodes(nodes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The cluster as it is."""
        return tuple(machine.node for machine in self._node_states.values())

    @property
    def placements(self) -> dict[str, tuple[str, ...]]:
        """Key -> the node of each worker."""
        return {key: tuple(share.node_state.node.name for share in shares) for key, shares in self._allocations.items()}

    def list_free_resources(self) -> dict[str, tuple[float, tuple[float, ...]]]:
        """Node -> free cores, and what is free of each of its GPUs."""
        return {
            name: (machine.cpus / UNITS_PER_DEVICE, tuple(gpu / UNITS_PER_DEVICE for gpu in machine.gpus))
            for name, machine in self._node_states.items()
        }

    @property
    def utilization(self) -> float:
        """Share of the cluster's GPUs that is booked now; NaN where it has none."""
        there = UNITS_PER_DEVICE * sum(len(machine.gpus) for machine in self._node_states.values())
        unused = sum(sum(machine.gpus) for machine in self._node_states.values())
        return 1 - unused / there if there else math.nan

    def place(self, key: str, request: ResourceRequest, avoid: Collection[str] = ()) -> tuple[str, ...] | None:
        """Book every worker, on no node of `avoid`, and name the node of each; None, and nothing booked, where they do
        not all fit now.

        Best fit: a fraction goes onto the GPU that is shared already and has least left, one whole GPU onto the node
        with fewest to spare, a gang onto one node if it can and else onto as few as can be.
        """
        if key in self._allocations:
            raise ValueError(f"{key} has a place already")
        machines: Iterable[_NodeState] = self._node_states.values()
        if avoid:
            machines = [machine for name, machine in self._node_states.items() if name not in avoid]
        shares = (
            _allocate_multi_worker(machines, request) if request.workers > 1 else _allocate_single(machines, request)
        )
        if shares is None:
            return None
        for share in shares:
            share.node_state.allocate(share.cpus, share.gpus, share.device)
        self._allocations[key] = shares
        return tuple(share.node_state.node.name for share in shares)

    def release(self, key: str) -> None:
        """Give everything back; KeyError where nothing is booked under that key."""
        for share in self._allocations.pop(key):
            share.node_state.allocate(-share.cpus, -share.gpus, share.device)

    def shrink(self, key: str, request: ResourceRequest) -> None:
        """Keep the first worker's share alone, now for `need` (at most what it had): a gang is evaluated by one.

        KeyError for an unknown key, ValueError for a need that is larger than the share.
        """
        first, *others = self._allocations[key]
        cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
        if request.workers != 1 or cpus > first.cpus or gpus > first.gpus:
            raise ValueError(f"{key} cannot shrink to {request}: it has less, or that is a gang")
        for share in others:
            share.node_state.allocate(-share.cpus, -share.gpus, share.device)
        device = first.device if gpus else None
        first.node_state.allocate(cpus - first.cpus, gpus - first.gpus, first.device)
        self._allocations[key] = [_WorkerAllocation(first.node_state, cpus, gpus, device)]

    def update_nodes(self, nodes: Iterable[Node]) -> list[str]:
        """The cluster as it is now. Returns the keys that lost a node; they stay booked on their others until released.

        A node that comes back with another size is a new one.
        """
        before, self._node_states = self._node_states, {}
        for node in nodes:
            old = before.get(node.name)
            self._node_states[node.name] = old if old is not None and old.node == node else _NodeState(node)
        for name, machine in before.items():
            machine.is_alive = self._node_states.get(name) is machine
        self._fits_cache.clear()
        return [
            key for key, shares in self._allocations.items() if not all(share.node_state.is_alive for share in shares)
        ]

    def fits_empty_cluster(self, request: ResourceRequest) -> bool:
        """Whether it fits the cluster of now when nothing else runs."""
        if request not in self._fits_cache:
            empty = [_NodeState(node) for node in self.nodes]
            self._fits_cache[request] = (
                _allocate_multi_worker(empty, request) if request.workers > 1 else _allocate_single(empty, request)
            ) is not None
        return self._fits_cache[request]

    def nodes_to_reserve(self, request: ResourceRequest) -> frozenset[str]:
        """As few nodes as would hold it if nothing else ran on them, those with most free now first; none where the
        whole cluster could not."""
        cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
        able = []
        for machine in self._node_states.values():
            empty = _NodeState(machine.node)
            fits = (
                empty.count_free_workers(cpus, gpus)
                if request.workers > 1
                else int(_allocate_single([empty], request) is not None)
            )
            if fits:
                able.append((min(fits, request.workers), sum(machine.gpus), machine.cpus, machine.node.name))
        chosen: list[str] = []
        missing = request.workers
        for fits, _, _, name in sorted(able, key=lambda one: (-one[0], -one[1], -one[2])):
            if missing > 0:
                chosen.append(name)
                missing -= fits
        return frozenset(chosen) if missing <= 0 else frozenset()


def _allocate_single(node_states: Iterable[_NodeState], request: ResourceRequest) -> list[_WorkerAllocation] | None:
    cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
    best: tuple[tuple[int, ...], _NodeState, int | None] | None = None
    for machine in node_states:
        if machine.cpus < cpus or machine.largest_free < gpus:
            continue
        device: int | None = None
        if gpus == 0:  # away from GPUs that wait for a trial with cores
            score: tuple[int, ...] = (machine.whole_gpus, machine.cpus)
        else:
            left = min(free for free in machine.gpus if free >= gpus)
            device = machine.gpus.index(left)
            # A shared GPU before a whole one, whichever node it is on.
            score = (int(left == UNITS_PER_DEVICE), left, machine.whole_gpus, machine.cpus)
        if best is None or score < best[0]:
            best = score, machine, device
    return None if best is None else [_WorkerAllocation(best[1], cpus, gpus, best[2])]


def _allocate_multi_worker(
    node_states: Iterable[_NodeState], request: ResourceRequest
) -> list[_WorkerAllocation] | None:
    cpus, gpus = _to_units(request.cpus), _to_units(request.gpus)
    able = (machine for machine in node_states if machine.cpus >= cpus and machine.largest_free >= gpus)
    rooms = [(room, machine) for machine in able if (room := machine.count_free_workers(cpus, gpus)) > 0]
    if sum(room for room, _ in rooms) < request.workers:
        return None
    rooms.sort(key=lambda one: -one[0])
    shares: list[_WorkerAllocation] = []
    while len(shares) < request.workers:
        missing = request.workers - len(shares)
        # The tightest that holds all the rest; where none does, the roomiest.
        holding = [i for i, (room, _) in enumerate(rooms) if room >= missing]
        at = min(holding, key=lambda i: rooms[i][0], default=0)
        room, machine = rooms.pop(at)
        whole = [i for i, free in enumerate(machine.gpus) if free == UNITS_PER_DEVICE]
        shares += [
            _WorkerAllocation(machine, cpus, gpus, whole[i] if gpus else None) for i in range(min(room, missing))
        ]
    return shares


def longest_first(trials: Iterable[QueuedTrial]) -> list[QueuedTrial]:
    """Longest first (Graham 1969), so that the last to end are short; of equal length, by GPUs and then by cores.

    Gangs first would leave small sweeps a long trial for the end. One of unknown length counts as longest; otherwise
    equal ones keep their order.
    """

    def size(job: QueuedTrial) -> tuple[float, float, float]:
        seconds = math.inf if math.isnan(job.seconds) else job.seconds
        return seconds, job.request.total_gpus, job.request.total_cpus

    return sorted(trials, key=size, reverse=True)


def count_max_concurrent(nodes: Iterable[Node], trials: Iterable[QueuedTrial]) -> int:
    """Most of these trials that run at once: the empty cluster is filled with the smallest first."""
    ledger = ResourceLedger(nodes)
    cpus = sum(node.cpus for node in ledger.nodes) or math.inf
    gpus = sum(node.gpus for node in ledger.nodes) or math.inf
    counts: dict[ResourceRequest, int] = {}
    for job in trials:
        counts[job.request] = counts.get(job.request, 0) + 1
    running = 0
    for need in sorted(counts, key=lambda need: max(need.total_gpus / gpus, need.total_cpus / cpus)):
        for _ in range(counts[need]):
            if ledger.place(str(running), need) is None:
                break
            running += 1
    return running


class TrialQueue:
    """The trials that wait, and the ledger. The first in order that fits is next, whatever stands before it.

    Smaller ones that slip by could keep a gang's GPUs from ever being free together. So, once more than `patience`
    trials were started past one that does not fit, the nodes it would fit on soonest are kept for it: what runs there
    ends, nothing else begins, until it has started (on these or others). One such claim at a time. Patience is by
    default as many trials as the cluster has GPUs (or cores, where it has none), at least eight: about the time in
    which everything that runs is replaced once.

    Trials of equal need are alike: where one does not fit none does, so each need is tried once, by its first trial.
    """

    def __init__(self, nodes: Iterable[Node], trials: Iterable[QueuedTrial], patience: int | None = None) -> None:
        self.ledger = ResourceLedger(nodes)
        self._fixed_patience, self._patience = patience, 0
        self._set_patience()
        self._trials: dict[str, QueuedTrial] = {}
        self._groups: dict[ResourceRequest, list[tuple[tuple[int, int], str]]] = {}
        self._times_passed_over: dict[ResourceRequest, int] = {}
        self._blocked_requests: set[ResourceRequest] = set()
        self._reservation: tuple[ResourceRequest, frozenset[str]] | None = None
        self._retries = 0
        self._placements: dict[str, tuple[str, ...]] = {}
        for job in longest_first(trials):
            self.add(job)

    def add(self, trial: QueuedTrial) -> None:
        """It waits behind those that are there. ValueError for a key that there was before."""
        if trial.key in self._trials:
            raise ValueError(f"{trial.key} is in the list twice")
        self._trials[trial.key] = trial
        self._enqueue(trial, (1, len(self._trials)))
        self._blocked_requests.discard(trial.request)

    @property
    def waiting_keys(self) -> list[str]:
        """Keys in order."""
        return [key for _, key in sorted(one for group in self._groups.values() for one in group)]

    @property
    def placements(self) -> dict[str, tuple[str, ...]]:
        """Key -> the node of each worker, as it was placed."""
        return dict(self._placements)

    @property
    def is_empty(self) -> bool:
        """Whether none waits and none runs."""
        return not self._groups and not self._placements

    @property
    def reserved_nodes(self) -> frozenset[str]:
        """Nodes that are kept for a trial that was passed over for too long."""
        return self._reservation[1] if self._reservation else frozenset()

    def next_placement(self) -> tuple[str, tuple[str, ...]] | None:
        """The next trial that has a place now, booked, with the node of each worker; None where none fits."""
        heads = sorted((group[0], need) for need, group in self._groups.items()) if self._groups else []
        for i, ((_, key), need) in enumerate(heads):
            if need in self._blocked_requests:
                continue
            own = self._reservation is not None and self._reservation[0] == need
            nodes = self.ledger.place(key, need, () if own else self.reserved_nodes)
            if nodes is None:
                self._blocked_requests.add(need)
                continue
            heapq.heappop(self._groups[need])
            if not self._groups[need]:
                del self._groups[need]
            self._placements[key] = nodes
            self._times_passed_over.pop(need, None)
            if own:
                self._reservation = None
                self._blocked_requests.clear()
            self._record_passed_over([before for _, before in heads[:i]])
            return key, nodes
        return None

    def finish(self, key: str) -> None:
        """It ended: its place is free. KeyError where it does not run."""
        del self._placements[key]
        self.ledger.release(key)
        self._blocked_requests.clear()

    def requeue(self, key: str) -> None:
        """It is to be tried once more: its place is free, and it waits before all that were not tried yet."""
        self.finish(key)
        self._retries += 1
        self._enqueue(self._trials[key], (0, self._retries))

    def shrink(self, key: str, request: ResourceRequest) -> None:
        """It goes on with its first worker alone (`Ledger.shrink`)."""
        self.ledger.shrink(key, request)
        self._blocked_requests.clear()

    def update_nodes(self, nodes: Iterable[Node]) -> list[str]:
        """The cluster as it is now; returns the keys that lost a node (`Ledger.update`)."""
        lost = self.ledger.update_nodes(nodes)
        self._blocked_requests.clear()
        self._set_patience()
        if self._reservation:
            self._reserve_nodes(self._reservation[0])
        return lost

    def _set_patience(self) -> None:
        nodes = self.ledger.nodes
        there = sum(node.gpus for node in nodes) or math.ceil(sum(node.cpus for node in nodes))
        self._patience = max(8, there) if self._fixed_patience is None else self._fixed_patience

    def _enqueue(self, trial: QueuedTrial, rank: tuple[int, int]) -> None:
        heapq.heappush(self._groups.setdefault(trial.request, []), (rank, trial.key))

    def _record_passed_over(self, requests: Sequence[ResourceRequest]) -> None:
        for need in requests:
            self._times_passed_over[need] = self._times_passed_over.get(need, 0) + 1
        if self._reservation is None:
            late = (
                need
                for need in requests
                if self._times_passed_over[need] > self._patience and self.ledger.fits_empty_cluster(need)
            )
            if (first := next(late, None)) is not None:
                self._reserve_nodes(first)

    def _reserve_nodes(self, request: ResourceRequest) -> None:
        # No nodes where the cluster of now is too small for it: then nothing is kept from the others.
        nodes = self.ledger.nodes_to_reserve(request)
        self._reservation = (request, nodes) if nodes else None
        self._blocked_requests.clear()


@dataclass(frozen=True)
class ScheduledTrial:
    """One trial of a schedule, in seconds after the start."""

    key: str
    nodes: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """What a simulation found. NaN where there is nothing to divide by: no GPUs, no time."""

    trials: tuple[ScheduledTrial, ...]
    """In the order of their starts."""
    makespan: float
    """Seconds until the last trial ends."""
    lower_bound: float
    """No schedule is shorter, seconds: all work spread evenly over all GPUs, or all cores, or the longest trial."""
    longest_seconds: float
    """Seconds of the longest trial."""
    utilization: float
    """GPU-seconds used / GPU-seconds there until the end."""
    peak_concurrency: int
    """Most trials at once."""

    @property
    def efficiency(self) -> float:
        """Lower bound / makespan."""
        return self.lower_bound / self.makespan if self.makespan else math.nan


def simulate_schedule(nodes: Iterable[Node], trials: Sequence[QueuedTrial], patience: int | None = None) -> Schedule:
    """Run the queue with every trial taking exactly its seconds, and starting costing nothing.

    Raises UsageError naming a trial that does not fit even when nothing else runs, ValueError for unknown seconds.
    """
    nodes = list(nodes)
    seconds = {job.key: job.seconds for job in trials}
    runs: list[ScheduledTrial] = []
    now, peak = 0.0, 0
    for phase in sorted({job.phase for job in trials}):
        queue = TrialQueue(
            nodes, _validate([job for job in trials if job.phase == phase], ResourceLedger(nodes)), patience
        )
        ends: list[tuple[float, int, str]] = []
        while True:
            while (placed := queue.next_placement()) is not None:
                key, names = placed
                heapq.heappush(ends, (now + seconds[key], len(runs), key))
                runs.append(ScheduledTrial(key, names, now, now + seconds[key]))
            peak = max(peak, len(ends))
            if not ends:
                break
            now = ends[0][0]
            while ends and ends[0][0] == now:
                queue.finish(heapq.heappop(ends)[2])
    gpus, cpus = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
    gpu_seconds = math.fsum(job.request.total_gpus * job.seconds for job in trials)
    cpu_seconds = math.fsum(job.request.total_cpus * job.seconds for job in trials)
    longest = max(seconds.values(), default=0.0)
    return Schedule(
        trials=tuple(runs),
        makespan=now,
        lower_bound=max(gpu_seconds / gpus if gpus else 0.0, cpu_seconds / cpus if cpus else 0.0, longest),
        longest_seconds=longest,
        utilization=gpu_seconds / (gpus * now) if gpus and now else math.nan,
        peak_concurrency=peak,
    )


def _validate(trials: list[QueuedTrial], empty_ledger: ResourceLedger) -> list[QueuedTrial]:
    """The jobs, each of which can be simulated."""
    for job in trials:
        if not 0 <= job.seconds < math.inf:
            raise ValueError(f"{job.key}: {job.seconds} seconds cannot be simulated")
        if not empty_ledger.fits_empty_cluster(job.request):
            raise UsageError(
                f"trial {job.key}",
                requested=str(job.request),
                found="more than the whole cluster has for one trial",
                hint="a larger cluster, or fewer workers, CPUs or GPUs under `runtime` of the sweep",
            )
    return trials
