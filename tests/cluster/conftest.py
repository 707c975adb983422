"""A local cluster shared by the tests of this folder: two Ray instances on one host interfere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.cluster import LocalCluster, start_local_cluster, stop_local_cluster


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """Folder of its state."""
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        yield Path(folder) / "cluster"


@pytest.fixture(scope="module")
def two_nodes(state: Path) -> Iterator[LocalCluster]:
    """Two nodes, each with one CPU and two fake GPUs."""
    yield start_local_cluster(2, gpus_per_node=2, cpus_per_node=1, folder=state)
    if (state / "cluster.json").exists():
        stop_local_cluster(state)
