"""Sweeps sent to a Ray cluster as jobs, and followed to their end."""

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sweeper.cluster.addresses import make_client_environment, resolve_address
from sweeper.errors import StoppedError, SweeperError, UsageError

DEFAULT_CLIENT_PORT = 10001
"""Of Ray's client servers, unless said otherwise."""
_MAX_RECONNECTS = 5
_MAX_CLIENT_SERVER_TRIES = 4
"""A client server starts a process for each client; of some 60 one did not start, without a word, the next one did."""
_LOG_TIMEOUT_SECONDS = 60.0


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
    """Run a sweep as a job of a cluster, follow its log, return its exit code.

    `address`: its dashboard (`http://…`), or its client server (`ray://…`), which is asked where the dashboard is.

    The sweep's file and its configs travel with the job; `storage` and the data must be paths that the cluster sees.
    `overrides` are `--set` texts, `options` further words for `sweeper run`. Raises UsageError before anything is sent,
    SweeperError where the cluster cannot be reached or refuses, StoppedError on Ctrl-C: the job then goes on.
    """
    from sweeper.config import find_sweep, load_sweep

    path = find_sweep(sweep)
    load_sweep(path, overrides)  # what is wrong with it is said here, not by a job
    if "://" not in storage and not Path(storage).is_absolute():
        raise UsageError(
            "--storage",
            requested=storage,
            found="a relative path: the job runs in a folder of its own, which the cluster deletes",
            hint="give an absolute path on storage that all nodes share",
        )
    address = resolve_address(address, folder, job_api=True)
    os.environ.update(make_client_environment(address, folder))  # before Ray is imported
    url = _find_job_url(address)
    words = ["sweeper", "run", f"sweeps/{path.name}", "--storage", storage, "--address", "auto"]
    words += [word for text in overrides for word in ("--set", text)]
    with _hide_ray_addresses(), tempfile.TemporaryDirectory() as bundle:
        bundle_sweep(path, Path(bundle))
        client = _make_job_client(url)
        with _translate_errors(f"cluster at {url}", f"submit {path.name}"):
            job: str = client.submit_job(
                entrypoint=shlex.join([*words, *options]),
                runtime_env={"working_dir": bundle},
                metadata={"sweep": path.stem},
            )
        return _follow_job(client, job, url, on_log)


def bundle_sweep(sweep: Path, bundle: Path) -> None:
    """Lay out what a sweep is made of as `sweeps/` and `configs/`, the way it is found from its working directory."""
    from sweeper.config import list_sweep_files

    (bundle / "sweeps").mkdir()
    for file in list_sweep_files(sweep):
        shutil.copy(file, bundle / "sweeps")
    # The last copy wins, as the first one found does when a sweep is read here.
    for root in reversed([sweep.resolve().parent, sweep.resolve().parent.parent, Path.cwd()]):
        if (root / "configs").is_dir():
            shutil.copytree(root / "configs", bundle / "configs", dirs_exist_ok=True)


def _find_job_url(address: str) -> str:
    """The dashboard that takes jobs, once it is known that somebody answers there. `ray job` finds it the same way."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "ray") or not parts.hostname:
        raise UsageError(
            "--address",
            requested=address,
            found="neither a Ray dashboard, where jobs are sent, nor a client server that knows it",
            hint="http://HOST:8265, ray://HOST:10001, or `local`; `sweeper run --address` takes the other kinds",
        )
    usual = {"http": 80, "https": 443, "ray": DEFAULT_CLIENT_PORT}
    _check_reachable(address, parts.hostname, parts.port or usual[parts.scheme])
    if parts.scheme != "ray":
        return address.rstrip("/")
    dashboard = _find_dashboard(address)
    host, _, port = dashboard.rpartition(":")
    _check_reachable(f"{address}, whose dashboard is at http://{dashboard}", host.strip("[]"), int(port))
    return f"http://{dashboard}"


def _find_dashboard(address: str) -> str:
    """host:port, as the cluster's client server says it."""
    import ray

    with _translate_errors(f"cluster at {address}", "where its dashboard is"), _hide_ray_addresses():
        for left in reversed(range(_MAX_CLIENT_SERVER_TRIES)):
            try:
                with ray.init(address, log_to_driver=False, logging_level=logging.ERROR) as context:
                    dashboard = context.dashboard_url
                break
            except ConnectionAbortedError:
                ray.shutdown()  # else the next try takes the broken connection for one that is there
                if not left:
                    raise
                time.sleep(1)
        if not dashboard:
            raise ValueError("it has none, and so takes no jobs")
    return str(dashboard)


def _check_reachable(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise _make_unreachable_error(address, str(error)) from error


def _make_unreachable_error(address: str, reason: str) -> SweeperError:
    return SweeperError(
        "cluster",
        requested=f"--address {address}",
        found=f"nobody answers: {reason}",
        hint="is the cluster up, and its dashboard forwarded to here (`ray dashboard`, `kubectl port-forward`, ssh -L)?",
    )


def _make_job_client(url: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    for module in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{module}").setLevel(logging.WARNING)
    with _translate_errors(f"cluster at {url}", "its job API"):
        return JobSubmissionClient(url)


@contextlib.contextmanager
def _translate_errors(where: str, requested: str) -> Iterator[None]:
    """Ray's and HTTP's errors, said for people."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise SweeperError(
            where,
            requested=requested,
            found=str(error).splitlines()[0],
            hint="put the cluster's token into ~/.ray/auth_token, or name its file in RAY_AUTH_TOKEN_PATH",
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise SweeperError(
            where, requested=requested, found=str(error), hint="is this the dashboard of a Ray cluster?"
        ) from error


@contextlib.contextmanager
def _hide_ray_addresses() -> Iterator[None]:
    """Ray lets these variables overrule an address that was given; here the one given counts."""
    names = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _follow_job(client: Any, job: str, url: str, on_log: Callable[[str], None]) -> int:
    """Pass on the job's log until it ends. A connection that breaks (a port forwarded for hours) is made anew."""
    shown, lost = 0, 0

    async def tail() -> None:
        nonlocal shown, lost
        skip = shown  # the log comes from its beginning each time
        texts = aiter(client.tail_job_logs(job))
        while True:
            try:  # a connection that died without a word looks like a job that says nothing
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
            with contextlib.suppress(Exception):  # whatever broke: what became of the job is asked below
                asyncio.run(tail())
            try:
                info = client.get_job_info(job)
            except (OSError, RuntimeError) as error:
                lost += 1
                if lost > _MAX_RECONNECTS:
                    do = f"it may go on: ray job logs --address {url} --follow {job}; submitting again resumes"
                    raise SweeperError(f"job {job}", requested="its end", found=f"lost: {error}", hint=do) from error
                time.sleep(2**lost)
                continue
            if info.status.is_terminal():
                return _read_exit_code(info)
            time.sleep(1)
    except KeyboardInterrupt as error:
        raise StoppedError(
            f"job {job} goes on at {url}",
            hint=f"ray job stop --address {url} {job}  ends it; ray job logs --address {url} --follow {job}  shows it",
        ) from error


def _read_exit_code(info: Any) -> int:
    if info.status == "SUCCEEDED":
        return 0
    if info.status == "STOPPED":
        return StoppedError.exit_code
    if info.driver_exit_code:
        return int(info.driver_exit_code)
    raise SweeperError(
        f"job {info.submission_id}", requested="its end", found=f"{info.status}: {info.message}", hint="see its log"
    )
