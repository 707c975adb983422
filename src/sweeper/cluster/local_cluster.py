"""A small Ray cluster on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sweeper.errors import SweeperError, UsageError
from sweeper.storage import read_json, write_json

JOIN_TIMEOUT_SECONDS = 120.0
"""So long may the nodes of a local cluster take to join."""
STOP_TIMEOUT_SECONDS = 20.0
"""So long may a node take to end by itself; then it is killed."""
_NODE_VARIABLE = "SWEEPER_LOCAL_NODE"
"""Environment variable that every process of a local cluster inherits: `<cluster id>/<node>`. It finds them again, and
tells them from all other processes, also where a process id was given out anew."""
_STATE_FILE = "cluster.json"


@dataclass(frozen=True)
class LocalNode:
    """A Ray node: the process that holds it, and the resources it says it has."""

    pid: int
    cpus: int
    gpus: int
    log: str


@dataclass(frozen=True)
class LocalCluster:
    """A Ray cluster of this machine. The first node is the head; GPU counts may be made up."""

    id: str
    address: str
    """For `--address` and `ray.init`."""
    dashboard: str
    """URL of the dashboard and of the job API."""
    client_server: str
    """`ray://…`: where Ray's clients connect."""
    token: str
    """File of the token that clients must show (`RAY_AUTH_TOKEN_PATH`)."""
    scratch: str
    """Ray's own files: short, since sockets lie in it."""
    nodes: tuple[LocalNode, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What a client of this cluster needs in its environment before it imports Ray."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": self.token}

    def to_dict(self) -> dict[str, Any]:
        """As the command line prints it, and as the state file holds it."""
        return asdict(self)


def locate_cluster_folder() -> Path:
    """Where the state of this user's local cluster lies."""
    return Path(os.environ.get("SWEEPER_CLUSTER") or Path(tempfile.gettempdir()) / f"sweeper-cluster-{os.getuid()}")


def read_local_cluster(folder: Path | None = None) -> LocalCluster | None:
    """The cluster whose state lies in `folder`, or None. Its processes may be dead: `processes` tells."""
    path = (folder or locate_cluster_folder()) / _STATE_FILE
    if not path.exists():
        return None
    state = read_json(path)
    return LocalCluster(**state | {"nodes": tuple(LocalNode(**node) for node in state["nodes"])})


def start_local_cluster(
    nodes: int, gpus_per_node: int = 0, cpus_per_node: int | None = None, folder: Path | None = None
) -> LocalCluster:
    """Start a Ray cluster of `nodes` separate nodes here, with token authentication, and wait until all have joined.

    CPUs are this machine's, shared out, unless given. The dashboard can be reached from this machine only; Ray's other
    servers listen on all interfaces, and the token guards them. Raises UsageError where one runs already, SweeperError
    where a node does not come up; then nothing is left running.
    """
    folder = folder or locate_cluster_folder()
    if nodes < 1 or gpus_per_node < 0 or (cpus_per_node is not None and cpus_per_node < 1):
        asked = f"{nodes} nodes, {gpus_per_node} GPUs and {cpus_per_node or 'the default'} CPUs each"
        raise UsageError(
            "local cluster", requested=asked, hint="at least one node, no negative number, at least one CPU"
        )
    _create_private_folder(folder)
    if (running := read_local_cluster(folder)) is not None:
        if list_processes(running):
            raise UsageError(
                "local cluster",
                requested="a new one",
                found=f"one is up: {running.address}, {len(running.nodes)} nodes, dashboard {running.dashboard}",
                hint="use it (--address local), or `sweeper cluster down-local` first",
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
        scratch=tempfile.mkdtemp(prefix="ray-", dir="/tmp"),  # short, private (0700) and ours
        nodes=(),
    )
    cpus = cpus_per_node or max(1, (os.cpu_count() or 1) // nodes)
    started: list[LocalNode] = []
    try:
        for index in range(nodes):
            started.append(_start_node(cluster, index, cpus, gpus_per_node, folder))
            cluster = LocalCluster(**{**cluster.__dict__, "nodes": tuple(started)})
            write_json(folder / _STATE_FILE, cluster.to_dict())  # before anything can fail: `down-local` finds it
            if index == 0:
                _wait_until(cluster, lambda: _is_listening(port), "its head did not start listening")
        _wait_until(cluster, lambda: len(list_alive_nodes(cluster)) == nodes, f"not all {nodes} nodes joined")
    except BaseException:
        _stop_processes(cluster)
        _delete_state(cluster, folder, keep_logs=True)
        raise
    return cluster


def stop_local_cluster(folder: Path | None = None) -> LocalCluster:
    """End the local cluster: its own processes, by their ids, workers before the head. Raises UsageError if none."""
    folder = folder or locate_cluster_folder()
    cluster = read_local_cluster(folder)
    if cluster is None:
        raise UsageError("local cluster", requested="down", found=f"none is known in {folder}", hint="nothing to do")
    _stop_processes(cluster)
    _delete_state(cluster, folder)
    return cluster


def list_processes(cluster: LocalCluster, node: int | None = None) -> list[int]:
    """Ids of all live processes of a cluster, or of one of its nodes: Ray's own, its workers, drivers of its jobs."""
    mark = f"{_NODE_VARIABLE}={cluster.id}/{'' if node is None else node}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            variables = (entry / "environ").read_bytes().split(b"\0")
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not zombie and any(v == mark or (node is None and v.startswith(mark)) for v in variables):
                found.append(int(entry.name))
    return sorted(found)


def list_alive_nodes(cluster: LocalCluster) -> list[dict[str, Any]]:
    """The nodes that Ray itself counts as alive, each with `resources_total`; none while the dashboard is not up."""
    request = urllib.request.Request(  # noqa: S310 # http to this machine
        f"{cluster.dashboard}/api/v0/nodes?detail=1",
        headers={"Authorization": f"Bearer {Path(cluster.token).read_text()}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            rows = json.load(answer)["data"]["result"]["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [row for row in rows if row["state"] == "ALIVE"]


def _start_node(cluster: LocalCluster, index: int, cpus: int, gpus: int, folder: Path) -> LocalNode:
    (agent,) = _find_free_ports(1)
    part = (
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
        *part,
        *(f"--num-cpus={cpus}", f"--num-gpus={gpus}"),
        f"--temp-dir={cluster.scratch}/{index}",  # sharing one, a node deletes the working folders of another's jobs
        *("--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={agent}"),
        f"--object-store-memory={256 * 2**20}",  # trials exchange files, not objects
    ]
    here = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = here | cluster.environment
    environment |= {
        _NODE_VARIABLE: f"{cluster.id}/{index}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        "MALLOC_ARENA_MAX": "2",  # as for a Ray that `run` starts
    }
    log = folder / f"node-{index}.log"
    with log.open("wb") as output:
        node = subprocess.Popen(  # noqa: S603 # our own words
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
                    ["a node ended at once" if dead else f"{failure} in {JOIN_TIMEOUT_SECONDS:.0f} s", *lines]
                ),
                hint=f"see {node.log}; nothing was left running",
            )
        time.sleep(0.2)


def _stop_processes(cluster: LocalCluster) -> None:
    """First what holds each node, which ends its node in order; then whatever is left, such as the drivers of jobs."""
    holders = {node.pid for node in cluster.nodes} & set(list_processes(cluster))  # and no strangers of these ids
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
        with contextlib.suppress(ChildProcessError):  # ours only where this process started it
            os.waitpid(node.pid, os.WNOHANG)


def _delete_state(cluster: LocalCluster, folder: Path, keep_logs: bool = False) -> None:
    shutil.rmtree(cluster.scratch, ignore_errors=True)
    files = [folder / _STATE_FILE, Path(cluster.token), *(Path(node.log) for node in cluster.nodes if not keep_logs)]
    for file in files:
        file.unlink(missing_ok=True)
    if not keep_logs:
        with contextlib.suppress(OSError):  # something else lies in it
            folder.rmdir()


def _create_private_folder(folder: Path) -> None:
    """A folder that only this user can write: a token lies in it, and it may be under /tmp."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UsageError(
            str(folder), found="it belongs to somebody else", hint="set SWEEPER_CLUSTER to a folder of yours"
        )


def _send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_running(pid: int) -> bool:
    """Whether a process lives; one that ended and was started here is reaped."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    return Path(f"/proc/{pid}").exists()


def _is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _find_free_ports(count: int) -> list[int]:
    """Free now; held together, so that they differ."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            holder = held.enter_context(socket.socket())
            holder.bind(("127.0.0.1", 0))
            ports.append(int(holder.getsockname()[1]))
        return ports
