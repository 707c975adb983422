"""Ray clusters: start one on this machine, send sweeps to one, and drain a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.cluster import LocalCluster, start_local_cluster, stop_local_cluster, submit_sweep
from sweeper.training import drain as drain_node

__all__ = [
    "LocalCluster",
    "RunOptions",
    "drain_node",
    "start_local_cluster",
    "stop_local_cluster",
    "submit_run",
    "submit_sweep",
]


@dataclass(frozen=True)
class RunOptions:
    """Options of `sweeper run` that a job is started with."""

    tracking: str = "wandb"
    """`wandb` or `none`."""
    smoke_test: bool = False
    """Run the smoke test of the sweep."""
    accept_underpowered: bool = False
    """Run claims whose minimum detectable effect exceeds their margin."""

    def list_words(self) -> list[str]:
        """List the words of the command."""
        flags = {"--smoke-test": self.smoke_test, "--accept-underpowered": self.accept_underpowered}
        return ["--tracking", self.tracking, *(flag for flag, is_set in flags.items() if is_set)]


def submit_run(
    sweep: str,
    address: str,
    storage: str,
    *,
    backend: str = "ray",
    overrides: Sequence[str] = (),
    options: RunOptions | None = None,
) -> int | None:
    """Run a sweep as a job of a cluster if its address takes jobs, and wait for its end.

    Args:
        sweep: name or path of the sweep; its file and its configs travel with the job.
        address: the cluster: `http(s)://…` (its dashboard) or `ray://…` (its client server) take jobs.
        storage: the store as the cluster sees it.
        backend: the backend whose cluster it is.
        overrides: `key=value` texts as given to `--set`.
        options: how the job runs the sweep; None: the defaults.

    Returns:
        The exit code of the job; None where the address takes no jobs: the sweep then runs from this process.

    Raises:
        UsageError: an unknown backend or tracker, or a wrong sweep or store; nothing was sent.
        SweeperError: the cluster cannot be reached, or rejects the job.
    """
    from sweeper.execution.backends.base import BACKENDS, SweepSubmission
    from sweeper.tracking import TRACKERS

    options = options or RunOptions()
    TRACKERS.check(options.tracking, where="--tracking")
    BACKENDS.check(backend, where="--backend")
    submission = SweepSubmission(sweep, storage, list(overrides), options.list_words())
    return BACKENDS.load(backend).submit(submission, address)
