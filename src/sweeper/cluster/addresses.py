"""Addresses of Ray clusters: the values of `--address`, and what a client of each cluster needs.

| address | cluster |
|---|---|
| `local` | the local cluster of `sweeper cluster up-local` |
| `http://host:8265`, `https://…` | the dashboard of a cluster: sweeps are submitted as jobs |
| `ray://host:10001` | the client server of a cluster, which names the dashboard |
| `auto`, `host:6379` | a cluster that this machine belongs to: the driver runs here |
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from sweeper.cluster.local_cluster import locate_cluster_folder, read_local_cluster
from sweeper.errors import UsageError

LOCAL_ADDRESS = "local"
"""The address of the local cluster."""
DEFAULT_PORTS = {"http": 80, "https": 443, "ray": 10001}
"""Scheme of an address that accepts jobs -> its default port."""


def accepts_jobs(address: str) -> bool:
    """Return whether sweeps are submitted to this address as jobs, rather than run by a driver here.

    Raises:
        UsageError: it is not an address, or has a password that Ray would not take and would print.
    """
    try:
        parts = urlsplit(address)
        is_url, _ = parts.scheme in DEFAULT_PORTS and "://" in address, parts.port if "://" in address else None
    except ValueError as error:
        raise UsageError("--address", requested=address.rpartition("@")[2], found=str(error)) from error
    if "@" in address and not is_url:
        found, hint = "a user name or password, which this kind of address has not", "host:port"
        raise UsageError("--address", requested=f"…@{address.rpartition('@')[2]}", found=found, hint=hint)
    return is_url


def make_client_environment(address: str | None, folder: Path | None = None) -> dict[str, str]:
    """Return the environment variables that a client needs and that are not set yet.

    These are the token of the local cluster, if the address is its own, and otherwise token authentication if there is
    a token: Ray enables it by itself only for clusters that it finds without an address. Set them before Ray is
    imported.

    Args:
        address: of the cluster; None starts Ray in this process.
        folder: of the local cluster's state; None is the user's.
    """
    if address is None or "RAY_AUTH_MODE" in os.environ:
        return {}
    own = read_local_cluster(folder)
    if own is not None and address in (LOCAL_ADDRESS, own.address, own.dashboard, own.client_server):
        return own.environment
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or locate_token())
    return {"RAY_AUTH_MODE": "token"} if os.environ.get("RAY_AUTH_TOKEN") or path.is_file() else {}


def locate_token() -> Path:
    """Return the file in which Ray keeps the token of a user's own clusters."""
    return Path.home() / ".ray" / "auth_token"


def make_token_private(path: Path | None = None) -> None:
    """Make sure that Ray's token exists and that only its owner can read it. Ray makes it with the usual mode, 0644.

    Where the file cannot be written, Ray itself says so when it starts.

    Args:
        path: of the token; None is Ray's own place.
    """
    path = path or locate_token()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.suppress(FileExistsError),
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file,
        ):
            file.write(secrets.token_hex(32))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def resolve_address(address: str, folder: Path | None = None, *, job_api: bool = False) -> str:
    """Replace `local` by the address of the local cluster. Other addresses are returned unchanged.

    Args:
        address: a value of `--address`.
        folder: of the local cluster's state; None is the user's.
        job_api: return the URL of its dashboard rather than the address of its head.

    Raises:
        UsageError: there is no local cluster, or it is not an address.
    """
    accepts_jobs(address)
    if address != LOCAL_ADDRESS:
        return address
    own = read_local_cluster(folder)
    if own is None:
        found = f"no local cluster in {folder or locate_cluster_folder()}"
        raise UsageError("--address", requested=address, found=found, hint="sweeper cluster up-local --nodes 2")
    return own.dashboard if job_api else own.address
