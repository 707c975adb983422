"""A small Ray cluster on this machine: several nodes as processes, for smoke tests of the cluster path."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from sweeper.errors import SweeperError, UsageError
from sweeper.storage import read_json, write_json

JOIN_TIMEOUT_SECONDS = 120.0
"""Timeout for the nodes of a local cluster to join."""
_PORTS = range(20_000, 32_000)
STOP_TIMEOUT_SECONDS = 5.0
"""Timeout for a node to stop by itself; then it is killed."""
_NODE_VARIABLE = "SWEEPER_LOCAL_NODE"
"""Environment variable that every process of a local cluster inherits: `<cluster id>/<node>`. It identifies them among
all processes, even if a process id has been reused."""
_STATE_FILE = "cluster.json"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine, whatever proxy the environment names."""


@dataclass(frozen=True)
class LocalNode:
    """A node of a local cluster."""

    pid: int
    """Process of `ray start --block`."""
    cpus: int
    """CPUs that it advertises."""
    gpus: int
    """GPUs that it advertises; they may be fake."""
    log: str
    """Its log file."""


@dataclass(frozen=True)
class RayNode:
    """A node as Ray reports it."""

    node_id: str
    ip: str
    resources: Mapping[str, float]
    """Total resources: `CPU`, `GPU`, `memory` (bytes) and Ray's own."""


@dataclass(frozen=True)
class LocalCluster:
    """A Ray cluster on this machine. The first node is the head."""

    id: str
    address: str
    """host:port of the head, for `--address` and `ray.init`."""
    dashboard: str
    """URL of the dashboard and of the job API."""
    client_server: str
    """`ray://…`: address for Ray's clients."""
    token: str
    """File of the token that clients must present (`RAY_AUTH_TOKEN_PATH`)."""
    scratch: str
    """Folder of Ray's own files. Its path is short, since it contains sockets."""
    nodes: tuple[LocalNode, ...]

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a client, to be set before it imports Ray."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": self.token}

    def to_document(self) -> dict[str, object]:
        """Make the JSON document of the command line and of the state file."""
        return asdict(self)


def locate_cluster_folder() -> Path:
    """Return the folder of the user's local cluster: `$SWEEPER_CLUSTER`, or one in the temporary folder."""
    return Path(os.environ.get("SWEEPER_CLUSTER") or Path(tempfile.gettempdir()) / f"sweeper-cluster-{os.getuid()}")


def read_local_cluster(folder: Path | None = None) -> LocalCluster | None:
    """Read the state of the cluster in `folder`; None without one. Its processes may have ended (`list_processes`)."""
    path = (folder or locate_cluster_folder()) / _STATE_FILE
    if not path.exists():
        return None
    state = read_json(path)
    return LocalCluster(**state | {"nodes": tuple(LocalNode(**node) for node in state["nodes"])})


def start_local_cluster(
    nodes: int, gpus_per_node: int = 0, cpus_per_node: int | None = None, folder: Path | None = None
) -> LocalCluster:
    """Start a Ray cluster on this machine with token authentication, and wait until all nodes have joined.

    The dashboard is reachable from this machine only. Ray's other servers listen on all interfaces and require the
    token.

    Args:
        nodes: number of nodes.
        gpus_per_node: GPUs that each node advertises; they may be fake.
        cpus_per_node: CPUs that each node advertises; None divides this machine's.
        folder: for the state; None is the user's.

    Returns:
        Address, dashboard and nodes of the cluster.

    Raises:
        UsageError: a local cluster is already running, or impossible numbers.
        SweeperError: a node does not start. Nothing is left running.
    """
    folder = folder or locate_cluster_folder()
    if nodes < 1 or gpus_per_node < 0 or (cpus_per_node is not None and cpus_per_node < 1):
        requested = f"{nodes} nodes, {gpus_per_node} GPUs and {cpus_per_node or 'the default'} CPUs each"
        raise UsageError(
            "local cluster", requested=requested, hint="at least one node, no negative number, at least one CPU"
        )
    _create_private_folder(folder)
    if (running := read_local_cluster(folder)) is not None:
        if list_processes(running):
            raise UsageError(
                "local cluster",
                requested="a new one",
                found=f"one is running: {running.address}, {len(running.nodes)} nodes, dashboard {running.dashboard}",
                hint="use it (--address local), or stop it with `sweeper cluster down-local`",
            )
        _delete_state(running, folder)
    token = folder / "auth_token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    port, dashboard, client = _find_free_ports(3)
    cluster = LocalCluster(
        id=secrets.token_hex(8),
        address=f"127.0.0.1:{port}",
        dashboard=f"http://127.0.0.1:{dashboard}",
        client_server=f"ray://127.0.0.1:{client}",
        token=str(token),
        scratch=tempfile.mkdtemp(prefix="ray-", dir="/tmp"),  # short and private (0700)
        nodes=(),
    )
    cpus = cpus_per_node or max(1, (os.cpu_count() or 1) // nodes)
    started: list[LocalNode] = []
    try:
        for index in range(nodes):
            started.append(_start_node(cluster, index, cpus, gpus_per_node, folder))
            cluster = replace(cluster, nodes=tuple(started))
            write_json(folder / _STATE_FILE, cluster.to_document())  # first, so that `down-local` finds the processes
            if index == 0:
                _wait_until(cluster, lambda: _is_listening(port), "the head did not start listening")
        _wait_until(cluster, lambda: len(list_alive_nodes(cluster)) == nodes, f"not all {nodes} nodes joined")
    except BaseException:
        _stop_processes(cluster)
        _delete_state(cluster, folder, keep_logs=True)
        raise
    return cluster


def stop_local_cluster(folder: Path | None = None) -> LocalCluster:
    """Stop the local cluster's processes, and no others.

    Args:
        folder: of the cluster's state; None is the user's.

    Returns:
        The cluster that was stopped.

    Raises:
        UsageError: there is no local cluster.
    """
    folder = folder or locate_cluster_folder()
    cluster = read_local_cluster(folder)
    if cluster is None:
        raise UsageError("local cluster", requested="down", found=f"no local cluster in {folder}", hint="nothing to do")
    _stop_processes(cluster)
    _delete_state(cluster, folder)
    return cluster


def list_processes(cluster: LocalCluster, node: int | None = None) -> list[int]:
    """List the ids of a cluster's live processes (Ray's own, workers, drivers of jobs), or of one node's."""
    mark = f"{_NODE_VARIABLE}={cluster.id}/{'' if node is None else node}".encode()
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            variables = (entry / "environ").read_bytes().split(b"\0")
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not zombie and any(v == mark or (node is None and v.startswith(mark)) for v in variables):
                pids.append(int(entry.name))
    return sorted(pids)


def list_alive_nodes(cluster: LocalCluster) -> list[RayNode]:
    """List the nodes that Ray reports as alive; none before the dashboard is up."""
    request = urllib.request.Request(  # noqa: S310 # http to this machine
        f"{cluster.dashboard}/api/v0/nodes?detail=1",
        headers={"Authorization": f"Bearer {Path(cluster.token).read_text()}"},
    )
    try:
        with _DIRECT.open(request, timeout=10) as answer:
            rows = json.load(answer)["data"]["result"]["result"]
            return [
                RayNode(row["node_id"], row["node_ip"], row["resources_total"])
                for row in rows
                if row["state"] == "ALIVE"
            ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _start_node(cluster: LocalCluster, index: int, cpus: int, gpus: int, folder: Path) -> LocalNode:
    (agent,) = _find_free_ports(1)
    role = (
        [
            "--head",
            f"--port={cluster.address.rpartition(':')[2]}",
            f"--dashboard-port={urlsplit(cluster.dashboard).port}",
            "--include-dashboard=true",
            f"--ray-client-server-port={urlsplit(cluster.client_server).port}",
        ]
        if index == 0
        else [f"--address={cluster.address}"]
    )
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
        *role,
        *(f"--num-cpus={cpus}", f"--num-gpus={gpus}"),
        f"--temp-dir={cluster.scratch}/{index}",  # its own: a node deletes the job folders of others in a shared one
        *("--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={agent}"),
        f"--object-store-memory={256 * 2**20}",  # trials exchange files, not objects
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = inherited | cluster.environment
    environment |= {
        _NODE_VARIABLE: f"{cluster.id}/{index}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        "MALLOC_ARENA_MAX": "2",  # as for the Ray that `run` starts
    }
    log = folder / f"node-{index}.log"
    with log.open("wb") as output:
        node = subprocess.Popen(  # noqa: S603 # our own command
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    return LocalNode(pid=node.pid, cpus=cpus, gpus=gpus, log=str(log))


def _wait_until(cluster: LocalCluster, is_ready: Callable[[], bool], failure: str) -> None:
    until = time.monotonic() + JOIN_TIMEOUT_SECONDS
    while not is_ready():
        dead = [node for node in cluster.nodes if not _is_running(node.pid)]
        if dead or time.monotonic() > until:
            node = dead[0] if dead else cluster.nodes[-1]
            lines = Path(node.log).read_text(errors="replace").splitlines()[-15:]
            raise SweeperError(
                "local cluster",
                requested=f"{len(cluster.nodes)} nodes",
                found="\n".join(
                    ["a node exited" if dead else f"{failure} within {JOIN_TIMEOUT_SECONDS:.0f} s", *lines]
                ),
                hint=f"see {node.log}; nothing was left running",
            )
        time.sleep(0.2)


def _stop_processes(cluster: LocalCluster) -> None:
    """Stop `ray start` of each node, which stops its node in order, and then what is left, such as drivers of jobs."""
    holders = {node.pid for node in cluster.nodes} & set(
        list_processes(cluster)
    )  # and no other process with a reused id
    _send_signal(holders, signal.SIGTERM)
    until = time.monotonic() + STOP_TIMEOUT_SECONDS
    while holders & set(list_processes(cluster)) and time.monotonic() < until:
        time.sleep(0.2)
    _send_signal(list_processes(cluster), signal.SIGTERM)
    until = time.monotonic() + 2
    while list_processes(cluster) and time.monotonic() < until:
        time.sleep(0.2)
    while left := list_processes(cluster):
        _send_signal(left, signal.SIGKILL)
        time.sleep(0.1)
    for node in cluster.nodes:
        with contextlib.suppress(ChildProcessError):  # it may be no child of this process
            os.waitpid(node.pid, os.WNOHANG)


def _delete_state(cluster: LocalCluster, folder: Path, keep_logs: bool = False) -> None:
    shutil.rmtree(cluster.scratch, ignore_errors=True)
    files = [folder / _STATE_FILE, Path(cluster.token), *(Path(node.log) for node in cluster.nodes if not keep_logs)]
    for file in files:
        file.unlink(missing_ok=True)
    if not keep_logs:
        with contextlib.suppress(OSError):  # it contains other files
            folder.rmdir()


def _create_private_folder(folder: Path) -> None:
    """Create a folder that only this user can write: it holds a token, and may be below /tmp."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UsageError(
            str(folder), found="it belongs to another user", hint="set SWEEPER_CLUSTER to a folder of your own"
        )


def _send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_running(pid: int) -> bool:
    """Return whether a process is running. A child that has ended is reaped."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    return Path(f"/proc/{pid}").exists()


def _is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _find_free_ports(count: int) -> list[int]:
    """Find ports that are free now, outside the range from which Linux gives ports to other programs by itself."""
    with contextlib.ExitStack() as sockets:
        ports: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                break
            holder = sockets.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # it is taken
                holder.bind(("", port))
                ports.append(port)
        return ports
