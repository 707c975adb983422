"""A local cluster that the tests of this folder share: two Ray instances on a host get in each other's way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.cluster import LocalCluster, start_local_cluster, stop_local_cluster


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """Where its state lies."""
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        yield Path(folder) / "cluster"


@pytest.fixture(scope="module")
def two_nodes(state: Path) -> Iterator[LocalCluster]:
    """Two nodes, each with one CPU and two GPUs that do not exist."""
    yield start_local_cluster(2, gpus_per_node=2, cpus_per_node=1, folder=state)
    if (state / "cluster.json").exists():
        stop_local_cluster(state)
