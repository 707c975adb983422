"""The local cluster: its nodes, its token, and that nothing is left after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper import cluster
from sweeper.cluster import LocalCluster
from sweeper.cluster import local_cluster as local
from sweeper.errors import SweeperError, UsageError
from sweeper.storage import write_json

CLIENT = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(ray.cluster_resources()['GPU'])"


def client(running: LocalCluster, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", CLIENT, running.address]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=120)


def answer(running: LocalCluster, token: str | None) -> int:
    """HTTP status of the job API for a client with this token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{running.dashboard}/api/jobs/", headers=headers)) as got:
            return int(got.status)
    except urllib.error.HTTPError as error:
        return error.code


def becomes(true: Callable[[], bool], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.1)
    return true()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("stops_shared_cluster")
class TestTwoNodes:
    """On the cluster that tests on Ray share, after all others: the last two tests here take it down."""

    def test_nodes_have_the_requested_resources(self, two_nodes: LocalCluster, state: Path) -> None:
        totals = [node.resources for node in cluster.list_alive_nodes(two_nodes)]
        assert [(total["CPU"], total["GPU"]) for total in totals] == [(1, 2), (1, 2)]
        assert cluster.read_local_cluster(state) == two_nodes

    def test_client_with_the_token_connects(self, two_nodes: LocalCluster) -> None:
        done = client(two_nodes, two_nodes.environment)
        assert done.stdout.strip() == "4.0", done.stderr

    def test_client_with_another_token_is_rejected(self, two_nodes: LocalCluster) -> None:
        done = client(two_nodes, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})
        assert done.returncode != 0
        assert "Failed to connect" in done.stderr  # Ray's message; the dashboard is more specific:
        assert [answer(two_nodes, token) for token in (None, "0" * 64)] == [401, 403]
        assert answer(two_nodes, Path(two_nodes.token).read_text()) == 200

    def test_token_is_readable_only_by_its_owner(self, two_nodes: LocalCluster) -> None:
        assert Path(two_nodes.token).stat().st_mode & 0o777 == 0o600

    def test_second_cluster_is_an_error(self, two_nodes: LocalCluster, state: Path) -> None:
        with pytest.raises(UsageError, match="one is running") as refused:
            cluster.start_local_cluster(1, folder=state)
        assert two_nodes.dashboard in str(refused.value)

    def test_killed_node_leaves_the_others_running(self, two_nodes: LocalCluster) -> None:
        other = cluster.list_processes(two_nodes, 0)
        for pid in cluster.list_processes(two_nodes, 1):
            os.kill(pid, signal.SIGKILL)
        assert becomes(lambda: len(cluster.list_alive_nodes(two_nodes)) == 1)
        assert set(other) <= set(cluster.list_processes(two_nodes))

    def test_stop_local_cluster_leaves_nothing(self, two_nodes: LocalCluster, state: Path) -> None:
        cluster.stop_local_cluster(state)
        assert cluster.list_processes(two_nodes) == []
        assert not state.exists()
        assert not Path(two_nodes.scratch).exists()


@pytest.mark.slow
@pytest.mark.ray
def test_failed_node_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[LocalCluster] = []
    start = local._start_node

    def start_badly(running: LocalCluster, index: int, cpus: int, gpus: int, folder: Path) -> cluster.LocalNode:
        seen.append(running)
        return start(running, index, cpus, gpus if index == 0 else -1, folder)  # Ray rejects a negative count

    monkeypatch.setattr(local, "_start_node", start_badly)
    with pytest.raises(SweeperError, match="a node exited"):
        cluster.start_local_cluster(2, folder=tmp_path)
    assert cluster.list_processes(seen[-1]) == []
    assert cluster.read_local_cluster(tmp_path) is None
    assert (tmp_path / "node-1.log").exists()  # the log is kept


def test_stop_local_cluster_without_cluster_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no local cluster"):
        cluster.stop_local_cluster(tmp_path)


@pytest.mark.parametrize(("nodes", "gpus", "cpus"), [(0, 0, None), (1, -1, None), (1, 0, 0)])
def test_start_local_cluster_rejects_impossible_sizes(nodes: int, gpus: int, cpus: int | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        cluster.start_local_cluster(nodes, gpus, cpus, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_start_local_cluster_rejects_another_users_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UsageError, match="belongs to another user"):
        cluster.start_local_cluster(1, folder=tmp_path / "link")


def test_list_processes_matches_the_exact_mark(tmp_path: Path) -> None:
    made_up = LocalCluster(
        "feed", "127.0.0.1:1", "http://127.0.0.1:1", "ray://127.0.0.1:2", str(tmp_path / "token"), str(tmp_path), ()
    )
    sleepers = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, "SWEEPER_LOCAL_NODE": mark})
        for mark in ("feed/0", "feed/1", "feed/10", "feedback/0")
    ]
    try:
        ids = [sleeper.pid for sleeper in sleepers]
        assert cluster.list_processes(made_up) == sorted(ids[:3])
        assert cluster.list_processes(made_up, 1) == [ids[1]]
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_state_of_a_dead_cluster_is_replaced(tmp_path: Path) -> None:
    made_up = LocalCluster(
        "feed", "127.0.0.1:1", "http://127.0.0.1:1", "ray://127.0.0.1:2", str(tmp_path / "t"), str(tmp_path / "s"), ()
    )
    write_json(tmp_path / "cluster.json", made_up.to_document())
    assert cluster.read_local_cluster(tmp_path) == made_up
    assert cluster.stop_local_cluster(tmp_path) == made_up
    assert cluster.read_local_cluster(tmp_path) is None
