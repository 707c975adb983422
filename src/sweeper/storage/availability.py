"""Storage that goes away and comes back: told from other failures, and waited for."""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from dataclasses import replace

from sweeper.errors import StorageUnavailableError
from sweeper.storage.store import Store

MARKER_FILE = ".sweeper-store"
"""A file in every store that was run in. Without it a mount point would look like an empty store."""
OUTAGE_TIMEOUT_SECONDS = 300.0
"""So long storage may be away or full before a trial fails for it."""
_PROBE_BYTES = 1 << 20
_UNAVAILABLE_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ESTALE,
    errno.EROFS,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.ENODEV,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}
# What torch and safetensors say, which write through libraries of their own.
_UNAVAILABLE_MESSAGES = re.compile(
    r"No space left|(os error |\[Errno )(28|122|5|116|30)\b|PytorchStreamWriter|unexpected pos|inline_container"
)


def mark_store(store: Store) -> Store:
    """The store, recognisable from now on: whoever has it knows when it is not there. Raises OSError.

    One behind a URL is not marked: each machine has a working copy of its own, and the driver says what is away.
    """
    if store.url is not None:
        return store
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / MARKER_FILE).touch()
    return replace(store, is_marked=True)


def find_storage_fault(error: BaseException, store: Store) -> str:
    """Why an error is the storage's and not the trial's; '' where it is not."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StorageUnavailableError):
            return seen.found or str(seen)
        if isinstance(seen, OSError) and seen.errno in _UNAVAILABLE_ERRNOS:
            return f"{os.strerror(seen.errno)}: {seen.filename or store.location}"
        if not isinstance(seen, KeyError) and _UNAVAILABLE_MESSAGES.search(str(seen)):
            return str(seen).splitlines()[0]
        seen = seen.__cause__ or seen.__context__
    return "" if _is_present(store) else f"{store.location} is not there, or empty: unmounted?"


def wait_until_writable(store: Store, timeout_seconds: float = OUTAGE_TIMEOUT_SECONDS) -> bool:
    """Wait until the store is there and takes a megabyte; False where it did not in `patience` seconds."""
    until = time.monotonic() + timeout_seconds
    while True:
        if _is_writable(store):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(min(1.0, timeout_seconds))


def is_disk_full(fault: str) -> bool:
    """Whether a fault is a full disk, which looks well again as soon as what did not fit was deleted."""
    return "No space" in fault or "Errno 28" in fault or "os error 28" in fault


def wait_for_store(store: Store) -> None:
    """Before something is written that must not be lost: wait where a store that was marked is not there now.

    What is written to an empty mount point disappears under what is mounted there later. Raises StorageAwayError.
    """
    if not _is_present(store) and not wait_until_writable(store):
        raise StorageUnavailableError(
            store.location, found="not there, or empty: unmounted?", hint="mount it, then run again"
        )


def _is_present(store: Store) -> bool:
    return not store.is_marked or (store.root / MARKER_FILE).exists()


def _is_writable(store: Store) -> bool:
    probe = store.root / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        if not _is_present(store):
            return False
        with probe.open("wb") as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        try:
            probe.unlink(missing_ok=True)
        except OSError:
            return False
    return True
