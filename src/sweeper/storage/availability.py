"""Storage outages: how they are told apart from other failures, and how the store is waited for."""

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
"""File in every store that a study ran in. Without it, an empty mount point would look like an empty store."""
OUTAGE_TIMEOUT_SECONDS = 300.0
"""Time that storage may be unavailable or full before a trial fails because of it."""
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
# Messages of torch and safetensors, whose writers raise errors without an errno.
_TORCH_MESSAGES = r"PytorchStreamWriter|unexpected pos|inline_container"
_UNAVAILABLE_MESSAGES = re.compile(rf"No space left|(os error |\[Errno )(28|122|5|116|30)\b|{_TORCH_MESSAGES}")


def mark_store(store: Store) -> Store:
    """Write the marker file, by which an absent store is recognized.

    A store behind a URL is not marked: every machine has its own working copy, and the driver reports outages.

    Returns:
        The store, known to be marked.

    Raises:
        OSError: the folder cannot be written.
    """
    if store.url is not None:
        return store
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / MARKER_FILE).touch()
    return replace(store, is_marked=True)


def find_storage_fault(error: BaseException, store: Store) -> str:
    """Describe the storage fault behind an error.

    Returns:
        The fault, or '' if the storage is not the cause.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StorageUnavailableError):
            return cause.found or str(cause)
        if isinstance(cause, OSError) and cause.errno in _UNAVAILABLE_ERRNOS:
            return f"{os.strerror(cause.errno)}: {cause.filename or store.location}"
        if not isinstance(cause, KeyError) and _UNAVAILABLE_MESSAGES.search(str(cause)):
            message = str(cause).splitlines()[0]
            if re.search(_TORCH_MESSAGES, message):
                return f"a file could not be written to its end, as on a full disk (torch: {message})"
            return message
        cause = cause.__cause__ or cause.__context__
    return "" if is_present(store) else f"{store.location} is missing or empty; is it unmounted?"


def wait_until_writable(store: Store, timeout_seconds: float = OUTAGE_TIMEOUT_SECONDS) -> bool:
    """Wait until the store is present and has room for a megabyte.

    Returns:
        False if that did not happen within the timeout.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        if _is_writable(store):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(min(1.0, timeout_seconds))


def is_disk_full(fault: str) -> bool:
    """Tell whether a fault is a full disk, which looks healthy again once the partial file is deleted."""
    return "No space" in fault or "Errno 28" in fault or "os error 28" in fault


def wait_for_store(store: Store) -> None:
    """Wait for a marked store that is absent, before something is written that must not be lost.

    Files written to an empty mount point are hidden by what is mounted there later.

    Raises:
        StorageUnavailableError: the store stayed absent.
    """
    if not is_present(store) and not wait_until_writable(store):
        raise StorageUnavailableError(
            store.location, found="missing or empty; is it unmounted?", hint="mount it, then run again"
        )


def is_present(store: Store) -> bool:
    """Tell whether a marked store is where it was. A store without a marker counts as present.

    Args:
        store: any store.

    Returns:
        False where it is missing or empty, as an unmounted folder is.
    """
    return not store.is_marked or (store.root / MARKER_FILE).exists()


def _is_writable(store: Store) -> bool:
    probe = store.root / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        if not is_present(store):
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
