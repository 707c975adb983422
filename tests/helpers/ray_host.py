"""The one Ray cluster of this host that tests share: a second instance would disturb it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sweeper.cluster import LocalCluster, start_local_cluster, stop_local_cluster


class RayHost:
    """Starts a cluster of two nodes for the first test that uses it, and stops it for one that needs the host.

    Each node has one CPU and two GPUs that do not exist. `state` is the folder that SWEEPER_CLUSTER names.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sweeper-")
        self._running: LocalCluster | None = None
        self.state = Path(self._folder.name) / "cluster"

    def share(self) -> LocalCluster:
        """Return the shared cluster, started where it does not run."""
        if self._running is None or not (self.state / "cluster.json").exists():
            self._running = start_local_cluster(2, gpus_per_node=2, cpus_per_node=1, folder=self.state)
        return self._running

    def free(self) -> None:
        """Stop the shared cluster. A test may have stopped it before."""
        self._running = None
        if (self.state / "cluster.json").exists():
            stop_local_cluster(self.state)

    def close(self) -> None:
        """Stop the shared cluster and delete its folder."""
        self.free()
        self._folder.cleanup()
