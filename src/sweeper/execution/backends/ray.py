"""The backend `ray`: trials in parallel on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sweeper import cluster
from sweeper.errors import SweeperError
from sweeper.execution.backends.base import Backend, BackendSession, SweepSubmission
from sweeper.execution.progress import ProgressDisplay

_LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With 0, a Ray that starts here listens on loopback only, as it does on Windows and macOS by default."""


@contextmanager
def open_backend(address: str | None, display: ProgressDisplay) -> Iterator[BackendSession]:
    """Connect to the Ray cluster at `address`, or start one here."""
    if address is None:
        _keep_ray_private()
    import ray

    from sweeper.execution.ray_backend.process_watch import announce_sudden_end, watch_ray_processes
    from sweeper.execution.ray_backend.search_actor import open_ray_search
    from sweeper.execution.ray_backend.tune import run_trials_on_ray

    _silence_ray()
    context = _connect(address)

    def describe_end(found: str) -> str:
        hint = "run the same command again to go on; what had finished is kept"
        return str(SweeperError("Ray", found=found, hint=hint))

    with announce_sudden_end(
        describe_end("the driver ended unexpectedly, perhaps with Ray's own processes")
    ) as dismiss:

        def end_driver(process: str) -> None:
            # Ray's own threads would wait for what is gone, and then abort. The store survives this as it does SIGKILL.
            display.close()
            display.print_line(describe_end(f"{process}, ended unexpectedly"))
            dismiss()
            os._exit(SweeperError.exit_code)

        try:
            with watch_ray_processes(context.address_info["session_dir"], end_driver):
                url = context.dashboard_url
                display.print_line(f"Ray dashboard: http://{url}" if url else "Ray dashboard: off")
                yield BackendSession(run_trials_on_ray, open_ray_search)
        finally:
            ray.shutdown()
            os.environ.pop(_LOOPBACK_VARIABLE, None)  # `ray start` of another process would refuse to join a cluster


def submit_sweep(submission: SweepSubmission, address: str) -> int | None:
    """Submit a sweep as a job of the cluster, if the address is one of a dashboard or a client server."""
    if not cluster.accepts_jobs(address):
        return None
    return cluster.submit_sweep(
        submission.sweep,
        address,
        storage=submission.storage,
        overrides=submission.overrides,
        options=submission.options,
    )


def resolve_address(address: str) -> str:
    """Set the environment of a client of the cluster, before Ray is imported, and replace `local` by its address."""
    os.environ.update(cluster.make_client_environment(address))
    return cluster.resolve_address(address)


def _keep_ray_private() -> None:
    """Let a Ray that starts here listen on loopback only, and keep its token from other users of this machine.

    Both must be done before Ray is imported. Ray's own defaults listen on all interfaces, where `/metrics` needs no
    token, and write the token readable for all.
    """
    os.environ.setdefault(_LOOPBACK_VARIABLE, "0")
    if not os.environ.get("RAY_AUTH_TOKEN") and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        cluster.make_token_private()


def _silence_ray() -> None:
    """Set what Ray reads from the environment. Its own tables would overwrite the display's."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ctrl-C then raises KeyboardInterrupt here, so it is distinguishable from failed trials.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000")  # a trial that Tune receives already has its place
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's workers have 30 threads, and glibc's heap for each of them grows with every trial (mallopt, M_ARENA_MAX).
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the display reports failures, once


def _connect(address: str | None) -> Any:
    """Return Ray's context, which has the URL of the dashboard."""
    import ray

    try:
        if address:
            found = _find_cluster(address)
            with cluster.hide_variables(found):
                return ray.init(address=found, log_to_driver=False, logging_level=logging.ERROR)
        # Without an address, Ray would obey RAY_ADDRESS, and wait minutes for a cluster that is gone.
        return ray.init(address="local", include_dashboard=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SweeperError(
            "Ray",
            requested=f"--address {address or '(none)'}",
            found=str(error),
            hint="--backend inline runs without Ray",
        ) from error


def _find_cluster(address: str) -> str:
    """Return host:port of a cluster that answers. Ray itself waits over eight minutes for one that is gone.

    Raises:
        SweeperError: nothing listens there.
        ConnectionError: there is no cluster on this machine.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die

    with nullcontext() if address == "auto" else cluster.hide_variables(address):
        found = str(canonicalize_bootstrap_address_or_die(address))
    host, _, port = found.rpartition(":")
    cluster.check_reachable(address if address == found else f"{address} ({found})", host.strip("[]"), int(port))
    return found


BACKEND = Backend(open_backend, submit_sweep, resolve_address)
