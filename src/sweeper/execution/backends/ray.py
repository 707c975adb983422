"""The backend `ray`: trials in parallel on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sweeper import cluster
from sweeper.errors import SweeperError
from sweeper.execution.backends.base import Backend, BackendSession, SweepSubmission
from sweeper.execution.progress import ProgressDisplay


@contextmanager
def open_backend(address: str | None, display: ProgressDisplay) -> Iterator[BackendSession]:
    """Connect to the Ray cluster at `address`, or start one here."""
    import ray

    from sweeper.execution.ray_backend.search_actor import open_ray_search
    from sweeper.execution.ray_backend.tune import run_trials_on_ray

    _silence_ray()
    context = _connect(address)
    url = context.dashboard_url
    display.print_line(f"Ray dashboard: http://{url}" if url else "Ray dashboard: off")
    try:
        yield BackendSession(run_trials_on_ray, open_ray_search)
    finally:
        ray.shutdown()


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
            return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        # Without an address, Ray would obey RAY_ADDRESS, and wait minutes for a cluster that is gone.
        return ray.init(address="local", include_dashboard=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SweeperError(
            "Ray",
            requested=f"--address {address or '(none)'}",
            found=str(error),
            hint="--backend inline runs without Ray",
        ) from error


BACKEND = Backend(open_backend, submit_sweep, resolve_address)
