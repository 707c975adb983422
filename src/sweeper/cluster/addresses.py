"""What `--address` may say, and what a client of that cluster needs."""

from __future__ import annotations

import os
from pathlib import Path

from sweeper.cluster.local_cluster import locate_cluster_folder, read_local_cluster
from sweeper.errors import UsageError

LOCAL_ADDRESS = "local"
"""The address that means this machine's cluster."""


def make_client_environment(address: str | None, folder: Path | None = None) -> dict[str, str]:
    """What a client of the cluster at `address` needs in its environment, as far as it is known here and not set yet.

    That is the token of this machine's cluster where the address is its own, and token authentication switched on where
    there is a token; Ray itself switches it on for clusters that it finds alone. To be set before Ray is imported.
    """
    if address is None or "RAY_AUTH_MODE" in os.environ:
        return {}
    own = read_local_cluster(folder)
    if own is not None and address in (LOCAL_ADDRESS, own.address, own.dashboard, own.client_server):
        return own.environment
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return {"RAY_AUTH_MODE": "token"} if os.environ.get("RAY_AUTH_TOKEN") or path.is_file() else {}


def resolve_address(address: str, folder: Path | None = None, *, job_api: bool = False) -> str:
    """`local` -> this machine's cluster; anything else is itself. Raises UsageError where there is none."""
    if address != LOCAL_ADDRESS:
        return address
    own = read_local_cluster(folder)
    if own is None:
        found = f"no local cluster is known in {folder or locate_cluster_folder()}"
        raise UsageError("--address", requested=address, found=found, hint="sweeper cluster up-local --nodes 2")
    return own.dashboard if job_api else own.address
