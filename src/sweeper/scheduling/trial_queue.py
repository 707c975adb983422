"""The order in which trials start, and the nodes they start on. Used for real runs and for their simulation.

Ray counts the resources that trials request, but starts trials in the order in which they were made: a large trial then
blocks smaller ones, or never finds its GPUs free at the same time. This queue hands a trial out only once all of its
workers have a place. No trial holds resources while it waits for others, so that no deadlock can arise. Pure: no Ray,
no clock, no I/O.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeper.scheduling.resources import Node, ResourceLedger, ResourceRequest


@dataclass(frozen=True)
class QueuedTrial:
    """A trial in the queue."""

    key: str
    request: ResourceRequest
    seconds: float = math.nan
    """Estimated duration; NaN if unknown. Only the order matters to a real run."""
    phase: int = 0
    """Phases run one after the other: a phase starts once all trials of the one before have ended."""


def sort_longest_first(trials: Iterable[QueuedTrial]) -> list[QueuedTrial]:
    """Sort trials by duration, longest first (Graham 1969), so that those that end last are short.

    Of equal durations those with more GPUs, then more cores, come first; otherwise they keep their order. Unknown
    durations count as longest. Large trials are not preferred over long ones: small sweeps would be left with a long
    trial at the end.
    """
    return sorted(trials, key=_get_sort_key, reverse=True)


def _get_sort_key(trial: QueuedTrial) -> tuple[float, float, float]:
    seconds = math.inf if math.isnan(trial.seconds) else trial.seconds
    return seconds, trial.request.total_gpus, trial.request.total_cpus


def count_max_concurrent(nodes: Iterable[Node], trials: Iterable[QueuedTrial]) -> int:
    """Count how many of the trials run at once if the empty cluster is filled with the smallest first."""
    ledger = ResourceLedger(nodes)
    cpus = sum(node.cpus for node in ledger.nodes) or math.inf
    gpus = sum(node.gpus for node in ledger.nodes) or math.inf
    counts: dict[ResourceRequest, int] = {}
    for trial in trials:
        counts[trial.request] = counts.get(trial.request, 0) + 1
    running = 0
    for request in sorted(counts, key=lambda request: max(request.total_gpus / gpus, request.total_cpus / cpus)):
        for _ in range(counts[request]):
            if ledger.place(str(running), request) is None:
                break
            running += 1
    return running


class TrialQueue:
    """Waiting trials and the resources of those that run. The first trial in order that fits is next.

    Smaller trials that overtake could keep the GPUs of a large one from ever being free together. So once more than
    `patience` trials have overtaken one that does not fit, the nodes on which it can start soonest are reserved for it:
    trials there end and no others start, until it has started on these or other nodes. There is at most one
    reservation.

    Trials with equal requests are interchangeable: each request is tried once, by its first trial.

    Args:
        nodes: the nodes of the cluster.
        trials: the trials that wait.
        patience: trials that may overtake one that does not fit. By default the number of the cluster's GPUs (of its
            cores if it has none), at least 8: about the time in which everything that runs is replaced once.
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
        for trial in sort_longest_first(trials):
            self.add(trial)

    def add(self, trial: QueuedTrial) -> None:
        """Append a trial to the queue.

        Raises:
            ValueError: its key was added before.
        """
        if trial.key in self._trials:
            raise ValueError(f"trial {trial.key} was added twice")
        self._trials[trial.key] = trial
        self._enqueue(trial, (1, len(self._trials)))
        self._blocked_requests.discard(trial.request)

    @property
    def waiting_keys(self) -> list[str]:
        """Keys of the waiting trials in order."""
        return [key for _, key in sorted(entry for group in self._groups.values() for entry in group)]

    @property
    def placements(self) -> dict[str, tuple[str, ...]]:
        """Key of each running trial -> the node of each worker, as it was placed."""
        return dict(self._placements)

    @property
    def is_empty(self) -> bool:
        """Whether no trial waits and none runs."""
        return not self._groups and not self._placements

    @property
    def reserved_nodes(self) -> frozenset[str]:
        """Nodes reserved for a trial that was overtaken too often."""
        return self._reservation[1] if self._reservation else frozenset()

    def next_placement(self) -> tuple[str, tuple[str, ...]] | None:
        """Place the next trial that fits now.

        Returns:
            Its key and the node of each worker, or None if no trial fits.
        """
        first_trials = sorted((group[0], request) for request, group in self._groups.items()) if self._groups else []
        for i, ((_, key), request) in enumerate(first_trials):
            if request in self._blocked_requests:
                continue
            own = self._reservation is not None and self._reservation[0] == request
            nodes = self.ledger.place(key, request, () if own else self.reserved_nodes)
            if nodes is None:
                self._blocked_requests.add(request)
                continue
            heapq.heappop(self._groups[request])
            if not self._groups[request]:
                del self._groups[request]
            self._placements[key] = nodes
            self._times_passed_over.pop(request, None)
            if own:
                self._reservation = None
                self._blocked_requests.clear()
            self._record_passed_over([overtaken for _, overtaken in first_trials[:i]])
            return key, nodes
        return None

    def finish(self, key: str) -> None:
        """Release the place of a trial that ended.

        Raises:
            KeyError: it does not run.
        """
        del self._placements[key]
        self.ledger.release(key)
        self._blocked_requests.clear()

    def requeue(self, key: str) -> None:
        """Release the place of a trial and let it wait again, before all trials that have not started yet."""
        self.finish(key)
        self._retries += 1
        self._enqueue(self._trials[key], (0, self._retries))

    def shrink(self, key: str, request: ResourceRequest) -> None:
        """Reduce a trial to its first worker (`ResourceLedger.shrink`)."""
        self.ledger.shrink(key, request)
        self._blocked_requests.clear()

    def update_nodes(self, nodes: Iterable[Node]) -> list[str]:
        """Replace the nodes of the cluster; return the keys that lost a node (`ResourceLedger.update_nodes`)."""
        lost = self.ledger.update_nodes(nodes)
        self._blocked_requests.clear()
        self._set_patience()
        if self._reservation:
            self._reserve_nodes(self._reservation[0])
        return lost

    def _set_patience(self) -> None:
        nodes = self.ledger.nodes
        size = sum(node.gpus for node in nodes) or math.ceil(sum(node.cpus for node in nodes))
        self._patience = max(8, size) if self._fixed_patience is None else self._fixed_patience

    def _enqueue(self, trial: QueuedTrial, rank: tuple[int, int]) -> None:
        heapq.heappush(self._groups.setdefault(trial.request, []), (rank, trial.key))

    def _record_passed_over(self, requests: Sequence[ResourceRequest]) -> None:
        for request in requests:
            self._times_passed_over[request] = self._times_passed_over.get(request, 0) + 1
        if self._reservation is None:
            impatient = (
                request
                for request in requests
                if self._times_passed_over[request] > self._patience and self.ledger.fits_empty_cluster(request)
            )
            if (first := next(impatient, None)) is not None:
                self._reserve_nodes(first)

    def _reserve_nodes(self, request: ResourceRequest) -> None:
        # There are no such nodes if the current cluster is too small; then nothing is reserved.
        nodes = self.ledger.choose_nodes_to_reserve(request)
        self._reservation = (request, nodes) if nodes else None
        self._blocked_requests.clear()
