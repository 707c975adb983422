"""Ray clusters: start one on this machine, send sweeps to one, and drain a node."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.cluster import LocalCluster, start_local_cluster, stop_local_cluster, submit_sweep
from sweeper.training import drain as drain_node

__all__ = ["LocalCluster", "drain_node", "start_local_cluster", "stop_local_cluster", "submit_run", "submit_sweep"]


def submit_run(
    sweep: str,
    address: str,
    storage: str,
    *,
    backend: str = "ray",
    overrides: Sequence[str] = (),
    tracking: str = "wandb",
    smoke_test: bool = False,
) -> int | None:
    """Run a sweep as a job of a cluster if its address takes jobs, and wait for its end.

    Args:
        sweep: name or path of the sweep; its file and its configs travel with the job.
        address: the cluster: `http(s)://…` (its dashboard) or `ray://…` (its client server) take jobs.
        storage: the store as the cluster sees it.
        backend: the backend whose cluster it is.
        overrides: `key=value` texts as given to `--set`.
        tracking: `wandb` or `none`.
        smoke_test: run the sweep's smoke test.

    Returns:
        The exit code of the job; None where the address takes no jobs: the sweep then runs from this process.

    Raises:
        UsageError: an unknown backend or tracker, or a wrong sweep or store; nothing was sent.
        SweeperError: the cluster cannot be reached, or rejects the job.
    """
    from sweeper.execution.backends.base import BACKENDS, SweepSubmission
    from sweeper.tracking import TRACKERS

    options = ["--tracking", TRACKERS.check(tracking, where="--tracking"), *(["--smoke-test"] if smoke_test else [])]
    BACKENDS.check(backend, where="--backend")
    return BACKENDS.load(backend).submit(SweepSubmission(sweep, storage, list(overrides), options), address)
