"""Who may work on a folder of a store behind a URL: one machine at a time, and for as long as it is alive."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

from sweeper.errors import LostWorkerError, SweeperError, UsageError
from sweeper.storage.object_store import RemoteFile, RemoteStore

RENEW_SECONDS = 20.0
"""A holder shows so often that it is alive."""
EXPIRY_SECONDS = 90.0
"""A lease that was not renewed for so long is anyone's."""
POLL_SECONDS = 5.0
"""Whoever waits for a lease looks so often."""
RELEASED_CONTENT = b"released"
"""What a lease says that nobody holds; shorter than any that is held."""
CLOCK_SKEW_SECONDS = 300.0
"""Clocks of two machines differ by less: a lease that is older than its expiry and this needs no watching."""


class LockHeldError(UsageError):
    """Another process works on it, and the caller did not want to wait."""


class LeaseLostError(LostWorkerError):
    """The lease was taken over: this process was taken for dead, and another does its work now."""


class Lock:
    """A lock that is held. Of a local store the operating system keeps it, and it cannot be lost."""

    generation: int | None = None
    """By which other processes can tell whether it still is (`Store.check_held`); None: it cannot be lost."""

    @property
    def is_lost(self) -> bool:
        """Whether somebody took it over, as far as is known: costs nothing."""
        return False

    def check_lease(self) -> None:
        """Raises LeaseLostError where somebody took it over: looks now. To be asked before results are published."""


class Lease(Lock):
    """A lease on a folder: `<folder>/.lease/<n>`, of which the highest n counts.

    Only an exclusive create makes a new n, so of several that want to take over exactly one does. Its holder rewrites
    it every RENEW_SECONDS, and says RELEASED at the end. Who finds it unchanged for EXPIRY_SECONDS by its own clock,
    or of a process of its own machine that is dead, creates the next. A holder that sees a higher one has lost.
    """

    generation: int

    def __init__(self, remote: RemoteStore, folder: str) -> None:
        self.remote, self.folder = remote, folder
        self.generation = 0
        self._renewal_count = 0
        self._owner_id = uuid.uuid4().hex
        self._lost_event = threading.Event()
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_stopped, name=f"lease {folder}", daemon=True)

    @property
    def is_lost(self) -> bool:
        """Whether a renewal found it taken over."""
        return self._lost_event.is_set()

    def check_lease(self) -> None:
        """Raises LeaseLostError where it was taken over."""
        if not self.is_lost and max(_list_generations(self.remote, self.folder), default=0) > self.generation:
            self._lost_event.set()
        if self.is_lost:
            raise _make_lease_lost_error(self.remote, self.folder)

    def acquire(self, timeout: float | None) -> None:
        """Wait for it; raises HeldError after `timeout` seconds. None: as long as it takes."""
        started = since = time.monotonic()
        watched: tuple[int, bytes] | None = None
        while True:
            generations = _list_generations(self.remote, self.folder)
            top = max(generations, default=0)
            content = (self.remote.read(self._make_key(top)) or b"") if top else RELEASED_CONTENT
            if (top, content) != watched:
                watched, since = (top, content), time.monotonic()
            watched_for = time.monotonic() - since
            if (
                content == RELEASED_CONTENT
                or watched_for > EXPIRY_SECONDS
                or _is_holder_dead(content, generations[top])
            ):
                if self.remote.create_exclusively(self._make_key(top + 1), self._encode_content()):
                    self.generation = top + 1
                    self.remote.delete(self._make_key(n) for n in generations)
                    self._thread.start()
                    return
                continue
            if timeout is not None and time.monotonic() - started >= timeout:
                raise LockHeldError(
                    f"{self.remote.url}/{self.folder}",
                    found=f"{_describe_holder(content)} works on it",
                    hint=f"wait for its end; if it is dead, {EXPIRY_SECONDS:.0f} s from its last sign of life are enough",
                )
            time.sleep(POLL_SECONDS)

    def release(self) -> None:
        """Leave it to others."""
        self._stop_event.set()
        self._thread.join()
        if not self.is_lost:
            try:
                self.remote.write(self._make_key(self.generation), RELEASED_CONTENT, retry_seconds=0)
            except SweeperError:
                return  # it runs out by itself, and what was done under it is published

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
        if self.is_lost and kind is None:
            self.check_lease()

    def _renew_until_stopped(self) -> None:
        while not self._stop_event.wait(RENEW_SECONDS):
            self._renewal_count += 1
            try:
                if max(_list_generations(self.remote, self.folder, retry_seconds=0), default=0) > self.generation:
                    self._lost_event.set()
                    return
                self.remote.write(self._make_key(self.generation), self._encode_content(), retry_seconds=0)
            except SweeperError:  # away: the lease is lost when another has it, and not before
                continue

    def _make_key(self, generation: int) -> str:
        return f"{self.folder}/.lease/{generation:08d}"

    def _encode_content(self) -> bytes:
        return json.dumps(
            {
                "owner": self._owner_id,
                "host": socket.gethostname(),
                "machine": _identify_machine(),
                "process": os.getpid(),
                "beat": self._renewal_count,
            }
        ).encode()


def check_lease_generation(remote: RemoteStore, folder: str, generation: int) -> None:
    """For a process that works under a lease that another one holds: raises LeaseLostError where it was taken over."""
    if max(_list_generations(remote, folder), default=0) > generation:
        raise _make_lease_lost_error(remote, folder)


def _list_generations(remote: RemoteStore, folder: str, retry_seconds: float | None = None) -> dict[int, RemoteFile]:
    found = remote.list_files(f"{folder}/.lease", retry_seconds)
    return {int(key.rsplit("/", 1)[1]): entry for key, entry in found.items() if key.rsplit("/", 1)[1].isdigit()}


def _make_lease_lost_error(remote: RemoteStore, folder: str) -> LeaseLostError:
    return LeaseLostError(
        f"{remote.url}/{folder}",
        found=f"another process took it over: nothing was heard from this one for {EXPIRY_SECONDS:.0f} s",
        hint="nothing; the other one goes on from what was uploaded",
    )


def find_leased_folders(entries: dict[str, RemoteFile]) -> set[str]:
    """Folders whose lease is held, from a listing: good enough to show, by the clocks of here and there."""
    newest: dict[str, tuple[str, RemoteFile]] = {}
    for key, entry in entries.items():
        folder, separator, generation = key.rpartition("/.lease/")
        if separator and generation > newest.get(folder, ("",))[0]:
            newest[folder] = generation, entry
    limit = time.time() - 2 * EXPIRY_SECONDS
    return {
        folder
        for folder, (_, entry) in newest.items()
        if entry.size > len(RELEASED_CONTENT) and (entry.modified_at or limit) >= limit
    }


def _identify_machine() -> str:
    """This boot of this machine, and the space its process numbers are of; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_holder_dead(content: bytes, entry: RemoteFile) -> bool:
    """Whether a lease's holder is known to be dead without watching it."""
    if entry.modified_at is not None and time.time() - entry.modified_at > EXPIRY_SECONDS + CLOCK_SKEW_SECONDS:
        return True
    try:
        holder = json.loads(content)
        if not holder["machine"] or holder["machine"] != _identify_machine():
            return False
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return False


def _describe_holder(content: bytes) -> str:
    try:
        holder = json.loads(content)
        return f"process {holder['process']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
