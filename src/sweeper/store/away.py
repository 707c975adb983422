"""Storage that goes away and comes back: told from other failures, and waited for."""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from dataclasses import replace

from sweeper.errors import StorageAwayError
from sweeper.store.layout import Store

MARK = ".sweeper-store"
"""A file in every store that was run in. Without it a mount point would look like an empty store."""
PATIENCE_SECONDS = 300.0
"""So long storage may be away or full before a trial fails for it."""
_PROBE_BYTES = 1 << 20
_AWAY = {
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
_SAID = re.compile(
    r"No space left|(os error |\[Errno )(28|122|5|116|30)\b|PytorchStreamWriter|unexpected pos|inline_container"
)


def mark_store(store: Store) -> Store:
    """The store, recognisable from now on: whoever has it knows when it is not there. Raises OSError.

    One behind a URL is not marked: each machine has a working copy of its own, and the driver says what is away.
    """
    if store.url is not None:
        return store
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / MARK).touch()
    return replace(store, marked=True)


def storage_fault(error: BaseException, store: Store) -> str:
    """Why an error is the storage's and not the trial's; '' where it is not."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StorageAwayError):
            return seen.found or str(seen)
        if isinstance(seen, OSError) and seen.errno in _AWAY:
            return f"{os.strerror(seen.errno)}: {seen.filename or store.location}"
        if not isinstance(seen, KeyError) and _SAID.search(str(seen)):
            return str(seen).splitlines()[0]
        seen = seen.__cause__ or seen.__context__
    return "" if _there(store) else f"{store.location} is not there, or empty: unmounted?"


def wait_until_back(store: Store, patience: float = PATIENCE_SECONDS) -> bool:
    """Wait until the store is there and takes a megabyte; False where it did not in `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        if _takes(store):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(min(1.0, patience))


def is_full(fault: str) -> bool:
    """Whether a fault is a full disk, which looks well again as soon as what did not fit was deleted."""
    return "No space" in fault or "Errno 28" in fault or "os error 28" in fault


def require_store(store: Store) -> None:
    """Before something is written that must not be lost: wait where a store that was marked is not there now.

    What is written to an empty mount point disappears under what is mounted there later. Raises StorageAwayError.
    """
    if not _there(store) and not wait_until_back(store):
        raise StorageAwayError(store.location, found="not there, or empty: unmounted?", do="mount it, then run again")


def _there(store: Store) -> bool:
    return not store.marked or (store.root / MARK).exists()


def _takes(store: Store) -> bool:
    probe = store.root / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        if not _there(store):
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
