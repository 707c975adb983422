"""Leases on folders of a store behind a URL: one process works on a folder, for as long as it is alive."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from sweeper.errors import LostWorkerError, SweeperError, UsageError
from sweeper.storage.object_store import RemoteFile, RemoteStore

RENEW_SECONDS = 20.0
"""Interval at which a holder renews its lease."""
EXPIRY_SECONDS = 90.0
"""A lease that was not renewed for this long can be taken over."""
POLL_SECONDS = 5.0
"""Interval at which a waiting process reads the lease."""
RELEASED_CONTENT = b"released"
"""Content of a released lease; shorter than that of any held one."""
CLOCK_SKEW_SECONDS = 300.0
"""Maximum difference of two machines' clocks: a lease that is older than its expiry plus this needs no watching."""


class LockHeldError(UsageError):
    """Another process holds the lock, and the timeout is over."""


class LeaseLostError(LostWorkerError):
    """The lease was taken over: this process was considered dead, and another one does its work now."""


class Lock:
    """A held lock. For a local store the operating system keeps it, so it cannot be lost."""

    generation: int | None = None
    """Number by which other processes check it (`Store.check_folder_lease`); None: it cannot be lost."""

    @property
    def is_lost(self) -> bool:
        """Whether another process is known to have taken it over. Makes no request."""
        return False

    def check_lease(self) -> None:
        """Check that the lock is still held; call it before results are published.

        Raises:
            LeaseLostError: another process took it over.
        """


@dataclass(frozen=True)
class LeaseHolder:
    """Content of a held lease, as JSON."""

    owner: str
    """Id of the lease object, so that two in one process differ."""
    host: str
    machine: str
    """Boot and process namespace; '' if unknown."""
    process: int
    beat: int
    """Number of renewals, so that every renewal changes the content."""

    @classmethod
    def parse(cls, content: bytes) -> LeaseHolder | None:
        """Parse the content of a lease; None if it is not that of a held one."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None


class Lease(Lock):
    """A lease on a folder: the file `<folder>/.lease/<generation>`; only the highest generation is valid.

    A new generation is made by an exclusive create, so exactly one of several candidates succeeds. The holder rewrites
    its file every RENEW_SECONDS, and writes RELEASED_CONTENT at the end. Another process takes over by creating the
    next generation if it sees the file unchanged for EXPIRY_SECONDS by its own clock, or if the holder is a dead
    process of its own machine. A holder that sees a higher generation has lost the lease.
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
        """Whether a renewal or check detected that it was taken over."""
        return self._lost_event.is_set()

    def check_lease(self) -> None:
        """Check that it was not taken over.

        Raises:
            LeaseLostError: it was.
        """
        if not self.is_lost and max(_list_generations(self.remote, self.folder), default=0) > self.generation:
            self._lost_event.set()
        if self.is_lost:
            raise _make_lease_lost_error(self.remote, self.folder)

    def acquire(self, timeout: float | None) -> None:
        """Wait for the lease and take it.

        Args:
            timeout: seconds to wait; None waits without limit.

        Raises:
            LockHeldError: another process still holds it after the timeout.
        """
        started = since = time.monotonic()
        watched: tuple[int, bytes] | None = None
        while True:
            generations = _list_generations(self.remote, self.folder)
            newest = max(generations, default=0)
            content = (self.remote.read(self._make_key(newest)) or b"") if newest else RELEASED_CONTENT
            if (newest, content) != watched:
                watched, since = (newest, content), time.monotonic()
            if (
                content == RELEASED_CONTENT
                or time.monotonic() - since > EXPIRY_SECONDS
                or _is_holder_dead(content, generations[newest])
            ):
                if self.remote.create_exclusively(self._make_key(newest + 1), self._encode_content()):
                    self.generation = newest + 1
                    self.remote.delete(self._make_key(n) for n in generations)
                    self._thread.start()
                    return
                continue
            if timeout is not None and time.monotonic() - started >= timeout:
                raise LockHeldError(
                    f"{self.remote.url}/{self.folder}",
                    found=f"{_describe_holder(content)} is working on it",
                    hint=f"wait until it ends; if it died, the lease expires within {EXPIRY_SECONDS:.0f} s",
                )
            time.sleep(POLL_SECONDS)

    def release(self) -> None:
        """Release the lease."""
        self._stop_event.set()
        self._thread.join()
        if not self.is_lost:
            try:
                self.remote.write(self._make_key(self.generation), RELEASED_CONTENT, retry_seconds=0)
            except SweeperError:
                return  # it expires by itself, and the work done under it is published

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
            except SweeperError:  # unavailable: the lease is lost only when another process takes it
                continue

    def _make_key(self, generation: int) -> str:
        return f"{self.folder}/.lease/{generation:08d}"

    def _encode_content(self) -> bytes:
        holder = LeaseHolder(
            self._owner_id, socket.gethostname(), _identify_machine(), os.getpid(), self._renewal_count
        )
        return json.dumps(asdict(holder)).encode()


def check_lease_generation(remote: RemoteStore, folder: str, generation: int) -> None:
    """Check, on behalf of the process that holds a lease, that it was not taken over.

    Raises:
        LeaseLostError: it was.
    """
    if max(_list_generations(remote, folder), default=0) > generation:
        raise _make_lease_lost_error(remote, folder)


def _list_generations(remote: RemoteStore, folder: str, retry_seconds: float | None = None) -> dict[int, RemoteFile]:
    files = remote.list_files(f"{folder}/.lease", retry_seconds)
    return {int(key.rsplit("/", 1)[1]): entry for key, entry in files.items() if key.rsplit("/", 1)[1].isdigit()}


def _make_lease_lost_error(remote: RemoteStore, folder: str) -> LeaseLostError:
    return LeaseLostError(
        f"{remote.url}/{folder}",
        found=f"another process took it over, because this one did not renew its lease for {EXPIRY_SECONDS:.0f} s",
        hint="nothing to do: the other process resumes from the uploaded files",
    )


def find_leased_folders(entries: dict[str, RemoteFile]) -> set[str]:
    """Find folders with a held lease in a listing.

    It compares the clocks of storage and machine, so it is good enough to display, not to take a lease over.
    """
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
    """Return an id of this boot of this machine and of its process namespace; '' if there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_holder_dead(content: bytes, entry: RemoteFile) -> bool:
    """Tell whether the holder of a lease is dead, as far as that is known without watching the lease."""
    if entry.modified_at is not None and time.time() - entry.modified_at > EXPIRY_SECONDS + CLOCK_SKEW_SECONDS:
        return True
    holder = LeaseHolder.parse(content)
    if holder is None or not holder.machine or holder.machine != _identify_machine():
        return False
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's process
        pass
    return False


def _describe_holder(content: bytes) -> str:
    holder = LeaseHolder.parse(content)
    return f"process {holder.process} on {holder.host}" if holder else "another process"
