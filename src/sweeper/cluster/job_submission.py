"""Submission of sweeps to a Ray cluster as jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

from sweeper.cluster.addresses import DEFAULT_PORTS, accepts_jobs, make_client_environment, resolve_address
from sweeper.errors import StoppedError, SweeperError, UsageError
from sweeper.proxies import is_loopback

_MAX_RECONNECTS = 5
_MAX_CLIENT_SERVER_TRIES = 4
"""A client server starts a process for each client. About 1 in 60 failed to start, without a message."""
_LOG_TIMEOUT_SECONDS = 60.0
"""After this long without output, the connection to a log is renewed: it may be dead."""


class _JobStatus(Protocol):
    value: str

    def is_terminal(self) -> bool: ...


class _JobInfo(Protocol):
    """What is used of Ray's `JobDetails`."""

    submission_id: str
    status: _JobStatus
    message: str
    driver_exit_code: int | None


class _JobClient(Protocol):
    """What is used of Ray's `JobSubmissionClient`."""

    def submit_job(self, *, entrypoint: str, runtime_env: Mapping[str, str], metadata: Mapping[str, str]) -> str: ...

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]: ...

    def get_job_info(self, job_id: str) -> _JobInfo: ...


def submit_sweep(
    sweep: str,
    address: str,
    *,
    storage: str,
    overrides: Sequence[str] = (),
    options: Sequence[str] = (),
    on_log: Callable[[str], None] = lambda text: print(text, end="", flush=True),
    folder: Path | None = None,
) -> int:
    """Run a sweep as a job of a cluster, follow its log, and return its exit code.

    The sweep's file and its configs travel with the job.

    Args:
        sweep: its name or file.
        address: the cluster's dashboard (`http://…`), its client server (`ray://…`), which names the dashboard, or
            `local`.
        storage: the store as the cluster sees it; so are the paths of data.
        overrides: texts of `--set`.
        options: further options of `sweeper run`.
        on_log: called with each piece of the job's log.
        folder: of the local cluster's state; None is the user's.

    Returns:
        The exit code of the job.

    Raises:
        UsageError: a wrong sweep, address or storage; nothing was sent.
        SweeperError: the cluster cannot be reached, or rejects the job.
        StoppedError: Ctrl-C. The job keeps running.
    """
    from sweeper.config import find_sweep, load_sweep

    path = find_sweep(sweep)
    load_sweep(path, overrides)  # mistakes are reported here, not by the job
    if "://" not in storage and not Path(storage).is_absolute():
        raise UsageError(
            "--storage",
            requested=storage,
            found="a relative path: the job runs in its own folder, which the cluster deletes",
            hint="give an absolute path that all nodes share",
        )
    address = resolve_address(address, folder, job_api=True)
    os.environ.update(make_client_environment(address, folder))  # before Ray is imported
    url = _find_job_url(address)
    words = ["sweeper", "run", f"sweeps/{path.name}", "--storage", storage, "--address", "auto"]
    words += [word for text in overrides for word in ("--set", text)]
    with hide_variables(url), tempfile.TemporaryDirectory() as bundle:
        bundle_sweep(path, Path(bundle))
        client = _make_job_client(url)
        with _translate_errors(f"cluster at {url}", f"submit {path.name}"):
            job = client.submit_job(
                entrypoint=shlex.join([*words, *options]),
                runtime_env={"working_dir": bundle},
                metadata={"sweep": path.stem},
            )
        return _follow_job(client, job, url, on_log)


def bundle_sweep(sweep: Path, bundle: Path) -> None:
    """Copy the files of a sweep into `sweeps/` and `configs/`, where a driver in the folder `bundle` finds them."""
    from sweeper.config import list_sweep_files

    (bundle / "sweeps").mkdir()
    for file in list_sweep_files(sweep):
        shutil.copy(file, bundle / "sweeps")
    # The last copy wins: reading a sweep uses the first of these folders that has a file.
    for root in reversed([sweep.resolve().parent, sweep.resolve().parent.parent, Path.cwd()]):
        if (root / "configs").is_dir():
            shutil.copytree(root / "configs", bundle / "configs", dirs_exist_ok=True)


def _find_job_url(address: str) -> str:
    """Find the dashboard of a cluster, as `ray job` does, and check that it is reachable."""
    parts = urlsplit(address)
    if not accepts_jobs(address) or not parts.hostname:
        raise UsageError(
            "--address",
            requested=address,
            found="neither a dashboard, which accepts jobs, nor a client server, which knows one",
            hint="http://HOST:8265, ray://HOST:10001, or `local`; `sweeper run --address` accepts other kinds",
        )
    check_reachable(address, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme])
    if parts.scheme in ("http", "https"):
        return address.rstrip("/")
    dashboard = _find_dashboard(address)
    host, _, port = dashboard.rpartition(":")
    check_reachable(f"{address}, whose dashboard is at http://{dashboard}", host.strip("[]"), int(port))
    return f"http://{dashboard}"


def _find_dashboard(address: str) -> str:
    """Return host:port of the dashboard, as the cluster's client server reports it."""
    import ray

    with _translate_errors(f"cluster at {address}", "the address of its dashboard"), hide_variables(address):
        for left in reversed(range(_MAX_CLIENT_SERVER_TRIES)):
            try:
                with ray.init(address, log_to_driver=False, logging_level=logging.ERROR) as context:
                    dashboard = context.dashboard_url
                break
            except ConnectionAbortedError:
                ray.shutdown()  # otherwise the next try reuses the broken connection
                if not left:
                    raise
                time.sleep(1)
        if not dashboard:
            raise ValueError("the cluster has no dashboard and accepts no jobs")
    return str(dashboard)


def check_reachable(address: str, host: str, port: int) -> None:
    """Check that something listens at a port.

    Args:
        address: of the cluster, for the message.
        host: name or IP address.
        port: number of the port.

    Raises:
        SweeperError: no connection within five seconds.
    """
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise _make_unreachable_error(address, str(error)) from error


def _make_unreachable_error(address: str, reason: str) -> SweeperError:
    return SweeperError(
        "cluster",
        requested=f"--address {address}",
        found=f"connection failed: {reason}",
        hint="check that the cluster is up and its port forwarded (`ray dashboard`, `kubectl port-forward`, ssh -L)",
    )


def _make_job_client(url: str) -> _JobClient:
    from ray.job_submission import JobSubmissionClient

    for module in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{module}").setLevel(logging.WARNING)
    with _translate_errors(f"cluster at {url}", "its job API"):
        return cast("_JobClient", JobSubmissionClient(url))


@contextlib.contextmanager
def _translate_errors(where: str, requested: str) -> Iterator[None]:
    """Convert errors of Ray and HTTP into a SweeperError."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise SweeperError(
            where,
            requested=requested,
            found=str(error).splitlines()[0],
            hint="put the cluster's token into ~/.ray/auth_token, or set RAY_AUTH_TOKEN_PATH to its file",
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise SweeperError(
            where, requested=requested, found=str(error), hint="is this the dashboard of a Ray cluster?"
        ) from error


@contextlib.contextmanager
def hide_variables(url: str) -> Iterator[None]:
    """Hide the variables that Ray prefers to an explicit address, and the proxies of a cluster on this machine.

    Args:
        url: of the cluster.
    """
    names = ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"]
    if is_loopback(urlsplit(url).hostname or ""):
        names += [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _follow_job(client: _JobClient, job: str, url: str, on_log: Callable[[str], None]) -> int:
    """Follow the job's log until the job ends. Broken connections, such as a forwarded port's, are renewed."""
    shown, lost = 0, 0

    async def tail_log() -> None:
        nonlocal shown, lost
        skip = shown  # each connection sends the log from its beginning
        texts = aiter(client.tail_job_logs(job))
        while True:
            try:  # a dead connection looks like a job without output
                text = await asyncio.wait_for(anext(texts), _LOG_TIMEOUT_SECONDS)
            except StopAsyncIteration:
                return
            new = text[skip:]
            skip = max(0, skip - len(text))
            if new:
                on_log(new)
                shown, lost = shown + len(new), 0

    try:
        on_log(f"job {job} at {url}\n")
        while True:
            with contextlib.suppress(Exception):  # whatever failed: the status of the job is checked below
                asyncio.run(tail_log())
            try:
                info = client.get_job_info(job)
            except (OSError, RuntimeError) as error:
                lost += 1
                if lost > _MAX_RECONNECTS:
                    hint = f"it may still run: ray job logs --address {url} --follow {job}; submitting again resumes"
                    raise SweeperError(
                        f"job {job}", requested="its end", found=f"connection lost: {error}", hint=hint
                    ) from error
                time.sleep(2**lost)
                continue
            if info.status.is_terminal():
                return _read_exit_code(info)
            time.sleep(1)
    except KeyboardInterrupt as error:
        raise StoppedError(
            f"job {job} keeps running at {url}",
            hint=f"stop it: ray job stop --address {url} {job}; follow it: ray job logs --address {url} --follow {job}",
        ) from error


def _read_exit_code(info: _JobInfo) -> int:
    if info.status.value == "SUCCEEDED":
        return 0
    if info.status.value == "STOPPED":
        return StoppedError.exit_code
    if info.driver_exit_code:
        return info.driver_exit_code
    raise SweeperError(
        f"job {info.submission_id}",
        requested="its end",
        found=f"{info.status.value}: {info.message}",
        hint="see its log",
    )
