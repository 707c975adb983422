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

WHOLE = 10_000
"""Cores and GPUs are counted in ten-thousandths, as Ray does: three thirds are one, and sums of floats never drift."""


@dataclass(frozen=True)
class Node:
    """A machine, as the cluster says it is."""

    name: str
    cpus: float
    gpus: int


@dataclass(frozen=True)
class Need:
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
    def all_cpus(self) -> float:
        """Cores of all workers."""
        return self.workers * self.cpus

    @property
    def all_gpus(self) -> float:
        """GPUs of all workers."""
        return self.workers * self.gpus

    def __str__(self) -> str:
        each = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)} and {self.gpus:g} GPU{'s' * (self.gpus != 1)}"
        return each if self.workers == 1 else f"{self.workers} workers of {each} each"


@dataclass(frozen=True)
class Job:
    """A trial that waits. `seconds` is an estimate; NaN where nothing is known."""

    key: str
    need: Need
    seconds: float = math.nan
    phase: int = 0
    """A run hands out the trials of one phase once those of the one before have all ended."""


class _Machine:
    """What is free on a node. One that died keeps its own object, so that what is returned to it reaches no other."""

    __slots__ = ("alive", "cpus", "gpus", "most", "node", "whole")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpus = _units(node.cpus)
        self.gpus = [WHOLE] * node.gpus
        self.whole = node.gpus
        self.most = WHOLE if node.gpus else 0  # free on its freest GPU: full nodes are passed over quickly
        self.alive = True

    def take(self, cpus: int, gpus: int, device: int | None) -> None:
        """Negative amounts give back."""
        self.cpus -= cpus
        if device is not None:
            self.gpus[device] -= gpus
            self.whole = self.gpus.count(WHOLE)
            self.most = max(self.gpus)

    def room(self, cpus: int, gpus: int) -> int:
        """Workers of a gang that it could hold now."""
        by_cpus = self.cpus // cpus
        return min(self.whole, by_cpus) if gpus else by_cpus


@dataclass
class _Share:
    """One worker's part of one machine."""

    machine: _Machine
    cpus: int
    gpus: int
    device: int | None


def _units(amount: float) -> int:
    # Rounded down, so that six sixths fit; what is asked for is never nothing.
    return max(math.floor(amount * WHOLE + 1e-6), 1) if amount else 0


class Ledger:
    """What is free, to the GPU: two halves share one, and 0.5 + 0.7 never do."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._machines: dict[str, _Machine] = {}
        self._booked: dict[str, list[_Share]] = {}
        self._fits: dict[Need, bool] = {}
        self.update(nodes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The cluster as it is."""
        return tuple(machine.node for machine in self._machines.values())

    @property
    def booked(self) -> dict[str, tuple[str, ...]]:
        """Key -> the node of each worker."""
        return {key: tuple(share.machine.node.name for share in shares) for key, shares in self._booked.items()}

    def free(self) -> dict[str, tuple[float, tuple[float, ...]]]:
        """Node -> free cores, and what is free of each of its GPUs."""
        return {
            name: (machine.cpus / WHOLE, tuple(gpu / WHOLE for gpu in machine.gpus))
            for name, machine in self._machines.items()
        }

    @property
    def utilisation(self) -> float:
        """Share of the cluster's GPUs that is booked now; NaN where it has none."""
        there = WHOLE * sum(len(machine.gpus) for machine in self._machines.values())
        unused = sum(sum(machine.gpus) for machine in self._machines.values())
        return 1 - unused / there if there else math.nan

    def place(self, key: str, need: Need, avoid: Collection[str] = ()) -> tuple[str, ...] | None:
        """Book every worker, on no node of `avoid`, and name the node of each; None, and nothing booked, where they do
        not all fit now.

        Best fit: a fraction goes onto the GPU that is shared already and has least left, one whole GPU onto the node
        with fewest to spare, a gang onto one node if it can and else onto as few as can be.
        """
        if key in self._booked:
            raise ValueError(f"{key} has a place already")
        machines: Iterable[_Machine] = self._machines.values()
        if avoid:
            machines = [machine for name, machine in self._machines.items() if name not in avoid]
        shares = _gang(machines, need) if need.workers > 1 else _single(machines, need)
        if shares is None:
            return None
        for share in shares:
            share.machine.take(share.cpus, share.gpus, share.device)
        self._booked[key] = shares
        return tuple(share.machine.node.name for share in shares)

    def release(self, key: str) -> None:
        """Give everything back; KeyError where nothing is booked under that key."""
        for share in self._booked.pop(key):
            share.machine.take(-share.cpus, -share.gpus, share.device)

    def shrink(self, key: str, need: Need) -> None:
        """Keep the first worker's share alone, now for `need` (at most what it had): a gang is evaluated by one.

        KeyError for an unknown key, ValueError for a need that is larger than the share.
        """
        first, *others = self._booked[key]
        cpus, gpus = _units(need.cpus), _units(need.gpus)
        if need.workers != 1 or cpus > first.cpus or gpus > first.gpus:
            raise ValueError(f"{key} cannot shrink to {need}: it has less, or that is a gang")
        for share in others:
            share.machine.take(-share.cpus, -share.gpus, share.device)
        device = first.device if gpus else None
        first.machine.take(cpus - first.cpus, gpus - first.gpus, first.device)
        self._booked[key] = [_Share(first.machine, cpus, gpus, device)]

    def update(self, nodes: Iterable[Node]) -> list[str]:
        """The cluster as it is now. Returns the keys that lost a node; they stay booked on their others until released.

        A node that comes back with another size is a new one.
        """
        before, self._machines = self._machines, {}
        for node in nodes:
            old = before.get(node.name)
            self._machines[node.name] = old if old is not None and old.node == node else _Machine(node)
        for name, machine in before.items():
            machine.alive = self._machines.get(name) is machine
        self._fits.clear()
        return [key for key, shares in self._booked.items() if not all(share.machine.alive for share in shares)]

    def could_ever(self, need: Need) -> bool:
        """Whether it fits the cluster of now when nothing else runs."""
        if need not in self._fits:
            empty = [_Machine(node) for node in self.nodes]
            self._fits[need] = (_gang(empty, need) if need.workers > 1 else _single(empty, need)) is not None
        return self._fits[need]

    def soonest(self, need: Need) -> frozenset[str]:
        """As few nodes as would hold it if nothing else ran on them, those with most free now first; none where the
        whole cluster could not."""
        cpus, gpus = _units(need.cpus), _units(need.gpus)
        able = []
        for machine in self._machines.values():
            empty = _Machine(machine.node)
            fits = empty.room(cpus, gpus) if need.workers > 1 else int(_single([empty], need) is not None)
            if fits:
                able.append((min(fits, need.workers), sum(machine.gpus), machine.cpus, machine.node.name))
        chosen: list[str] = []
        missing = need.workers
        for fits, _, _, name in sorted(able, key=lambda one: (-one[0], -one[1], -one[2])):
            if missing > 0:
                chosen.append(name)
                missing -= fits
        return frozenset(chosen) if missing <= 0 else frozenset()


def _single(machines: Iterable[_Machine], need: Need) -> list[_Share] | None:
    cpus, gpus = _units(need.cpus), _units(need.gpus)
    best: tuple[tuple[int, ...], _Machine, int | None] | None = None
    for machine in machines:
        if machine.cpus < cpus or machine.most < gpus:
            continue
        device: int | None = None
        if gpus == 0:  # away from GPUs that wait for a trial with cores
            score: tuple[int, ...] = (machine.whole, machine.cpus)
        else:
            left = min(free for free in machine.gpus if free >= gpus)
            device = machine.gpus.index(left)
            # A shared GPU before a whole one, whichever node it is on.
            score = (int(left == WHOLE), left, machine.whole, machine.cpus)
        if best is None or score < best[0]:
            best = score, machine, device
    return None if best is None else [_Share(best[1], cpus, gpus, best[2])]


def _gang(machines: Iterable[_Machine], need: Need) -> list[_Share] | None:
    cpus, gpus = _units(need.cpus), _units(need.gpus)
    able = (machine for machine in machines if machine.cpus >= cpus and machine.most >= gpus)
    rooms = [(room, machine) for machine in able if (room := machine.room(cpus, gpus)) > 0]
    if sum(room for room, _ in rooms) < need.workers:
        return None
    rooms.sort(key=lambda one: -one[0])
    shares: list[_Share] = []
    while len(shares) < need.workers:
        missing = need.workers - len(shares)
        # The tightest that holds all the rest; where none does, the roomiest.
        holding = [i for i, (room, _) in enumerate(rooms) if room >= missing]
        at = min(holding, key=lambda i: rooms[i][0], default=0)
        room, machine = rooms.pop(at)
        whole = [i for i, free in enumerate(machine.gpus) if free == WHOLE]
        shares += [_Share(machine, cpus, gpus, whole[i] if gpus else None) for i in range(min(room, missing))]
    return shares


def order(jobs: Iterable[Job]) -> list[Job]:
    """Longest first (Graham 1969), so that the last to end are short; of equal length, by GPUs and then by cores.

    Gangs first would leave small sweeps a long trial for the end. One of unknown length counts as longest; otherwise
    equal ones keep their order.
    """

    def size(job: Job) -> tuple[float, float, float]:
        seconds = math.inf if math.isnan(job.seconds) else job.seconds
        return seconds, job.need.all_gpus, job.need.all_cpus

    return sorted(jobs, key=size, reverse=True)


def max_concurrent(nodes: Iterable[Node], jobs: Iterable[Job]) -> int:
    """Most of these trials that run at once: the empty cluster is filled with the smallest first."""
    ledger = Ledger(nodes)
    cpus = sum(node.cpus for node in ledger.nodes) or math.inf
    gpus = sum(node.gpus for node in ledger.nodes) or math.inf
    counts: dict[Need, int] = {}
    for job in jobs:
        counts[job.need] = counts.get(job.need, 0) + 1
    running = 0
    for need in sorted(counts, key=lambda need: max(need.all_gpus / gpus, need.all_cpus / cpus)):
        for _ in range(counts[need]):
            if ledger.place(str(running), need) is None:
                break
            running += 1
    return running


class Queue:
    """The trials that wait, and the ledger. The first in order that fits is next, whatever stands before it.

    Smaller ones that slip by could keep a gang's GPUs from ever being free together. So, once more than `patience`
    trials were started past one that does not fit, the nodes it would fit on soonest are kept for it: what runs there
    ends, nothing else begins, until it has started (on these or others). One such claim at a time. Patience is by
    default as many trials as the cluster has GPUs (or cores, where it has none), at least eight: about the time in
    which everything that runs is replaced once.

    Trials of equal need are alike: where one does not fit none does, so each need is tried once, by its first trial.
    """

    def __init__(self, nodes: Iterable[Node], jobs: Iterable[Job], patience: int | None = None) -> None:
        self.ledger = Ledger(nodes)
        self._asked, self._patience = patience, 0
        self._set_patience()
        self._jobs: dict[str, Job] = {}
        self._groups: dict[Need, list[tuple[tuple[int, int], str]]] = {}
        self._passed: dict[Need, int] = {}
        self._blocked: set[Need] = set()
        self._claim: tuple[Need, frozenset[str]] | None = None
        self._retries = 0
        self._running: dict[str, tuple[str, ...]] = {}
        for job in order(jobs):
            self.add(job)

    def add(self, job: Job) -> None:
        """It waits behind those that are there. ValueError for a key that there was before."""
        if job.key in self._jobs:
            raise ValueError(f"{job.key} is in the list twice")
        self._jobs[job.key] = job
        self._wait(job, (1, len(self._jobs)))
        self._blocked.discard(job.need)

    @property
    def waiting(self) -> list[str]:
        """Keys in order."""
        return [key for _, key in sorted(one for group in self._groups.values() for one in group)]

    @property
    def running(self) -> dict[str, tuple[str, ...]]:
        """Key -> the node of each worker, as it was placed."""
        return dict(self._running)

    @property
    def empty(self) -> bool:
        """Whether none waits and none runs."""
        return not self._groups and not self._running

    @property
    def claimed(self) -> frozenset[str]:
        """Nodes that are kept for a trial that was passed over for too long."""
        return self._claim[1] if self._claim else frozenset()

    def next(self) -> tuple[str, tuple[str, ...]] | None:
        """The next trial that has a place now, booked, with the node of each worker; None where none fits."""
        heads = sorted((group[0], need) for need, group in self._groups.items()) if self._groups else []
        for i, ((_, key), need) in enumerate(heads):
            if need in self._blocked:
                continue
            own = self._claim is not None and self._claim[0] == need
            nodes = self.ledger.place(key, need, () if own else self.claimed)
            if nodes is None:
                self._blocked.add(need)
                continue
            heapq.heappop(self._groups[need])
            if not self._groups[need]:
                del self._groups[need]
            self._running[key] = nodes
            self._passed.pop(need, None)
            if own:
                self._claim = None
                self._blocked.clear()
            self._pass_over([before for _, before in heads[:i]])
            return key, nodes
        return None

    def done(self, key: str) -> None:
        """It ended: its place is free. KeyError where it does not run."""
        del self._running[key]
        self.ledger.release(key)
        self._blocked.clear()

    def again(self, key: str) -> None:
        """It is to be tried once more: its place is free, and it waits before all that were not tried yet."""
        self.done(key)
        self._retries += 1
        self._wait(self._jobs[key], (0, self._retries))

    def shrink(self, key: str, need: Need) -> None:
        """It goes on with its first worker alone (`Ledger.shrink`)."""
        self.ledger.shrink(key, need)
        self._blocked.clear()

    def update(self, nodes: Iterable[Node]) -> list[str]:
        """The cluster as it is now; returns the keys that lost a node (`Ledger.update`)."""
        lost = self.ledger.update(nodes)
        self._blocked.clear()
        self._set_patience()
        if self._claim:
            self._claim_for(self._claim[0])
        return lost

    def _set_patience(self) -> None:
        nodes = self.ledger.nodes
        there = sum(node.gpus for node in nodes) or math.ceil(sum(node.cpus for node in nodes))
        self._patience = max(8, there) if self._asked is None else self._asked

    def _wait(self, job: Job, rank: tuple[int, int]) -> None:
        heapq.heappush(self._groups.setdefault(job.need, []), (rank, job.key))

    def _pass_over(self, needs: Sequence[Need]) -> None:
        for need in needs:
            self._passed[need] = self._passed.get(need, 0) + 1
        if self._claim is None:
            late = (need for need in needs if self._passed[need] > self._patience and self.ledger.could_ever(need))
            if (first := next(late, None)) is not None:
                self._claim_for(first)

    def _claim_for(self, need: Need) -> None:
        # No nodes where the cluster of now is too small for it: then nothing is kept from the others.
        nodes = self.ledger.soonest(need)
        self._claim = (need, nodes) if nodes else None
        self._blocked.clear()


@dataclass(frozen=True)
class Run:
    """One trial of a schedule, in seconds after the start."""

    key: str
    nodes: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """What a simulation found. NaN where there is nothing to divide by: no GPUs, no time."""

    runs: tuple[Run, ...]
    """In the order of their starts."""
    makespan: float
    """Seconds until the last trial ends."""
    lower_bound: float
    """No schedule is shorter, seconds: all work spread evenly over all GPUs, or all cores, or the longest trial."""
    longest: float
    """Seconds of the longest trial."""
    utilisation: float
    """GPU-seconds used / GPU-seconds there until the end."""
    peak: int
    """Most trials at once."""

    @property
    def efficiency(self) -> float:
        """Lower bound / makespan."""
        return self.lower_bound / self.makespan if self.makespan else math.nan


def simulate(nodes: Iterable[Node], jobs: Sequence[Job], patience: int | None = None) -> Schedule:
    """Run the queue with every trial taking exactly its seconds, and starting costing nothing.

    Raises UsageError naming a trial that does not fit even when nothing else runs, ValueError for unknown seconds.
    """
    nodes = list(nodes)
    seconds = {job.key: job.seconds for job in jobs}
    runs: list[Run] = []
    now, peak = 0.0, 0
    for phase in sorted({job.phase for job in jobs}):
        queue = Queue(nodes, _sound([job for job in jobs if job.phase == phase], Ledger(nodes)), patience)
        ends: list[tuple[float, int, str]] = []
        while True:
            while (placed := queue.next()) is not None:
                key, names = placed
                heapq.heappush(ends, (now + seconds[key], len(runs), key))
                runs.append(Run(key, names, now, now + seconds[key]))
            peak = max(peak, len(ends))
            if not ends:
                break
            now = ends[0][0]
            while ends and ends[0][0] == now:
                queue.done(heapq.heappop(ends)[2])
    gpus, cpus = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
    gpu_seconds = math.fsum(job.need.all_gpus * job.seconds for job in jobs)
    cpu_seconds = math.fsum(job.need.all_cpus * job.seconds for job in jobs)
    longest = max(seconds.values(), default=0.0)
    return Schedule(
        runs=tuple(runs),
        makespan=now,
        lower_bound=max(gpu_seconds / gpus if gpus else 0.0, cpu_seconds / cpus if cpus else 0.0, longest),
        longest=longest,
        utilisation=gpu_seconds / (gpus * now) if gpus and now else math.nan,
        peak=peak,
    )


def _sound(jobs: list[Job], empty: Ledger) -> list[Job]:
    """The jobs, each of which can be simulated."""
    for job in jobs:
        if not 0 <= job.seconds < math.inf:
            raise ValueError(f"{job.key}: {job.seconds} seconds cannot be simulated")
        if not empty.could_ever(job.need):
            raise UsageError(
                f"trial {job.key}",
                asked=str(job.need),
                found="more than the whole cluster has for one trial",
                do="a larger cluster, or fewer workers, CPUs or GPUs under `runtime` of the sweep",
            )
    return jobs
