"""Storage that goes away and comes back: told from other failures, and waited for."""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from pathlib import Path

from sweeper.errors import StorageAwayError

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
_SAID = re.compile(r"No space left|os error (28|122|5|116|30)\b|PytorchStreamWriter|unexpected pos|inline_container")


def mark_store(root: Path) -> None:
    """Make `root` recognisable as a store. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()


def storage_fault(error: BaseException, root: Path) -> str:
    """Why an error is the storage's and not the trial's; '' where it is not."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StorageAwayError):
            return seen.found or str(seen)
        if isinstance(seen, OSError) and seen.errno in _AWAY:
            return f"{os.strerror(seen.errno)}: {seen.filename or root}"
        if not isinstance(seen, KeyError) and _SAID.search(str(seen)):
            return str(seen).splitlines()[0]
        seen = seen.__cause__ or seen.__context__
    if not (root / MARK).exists():
        return f"{root} is not there, or empty: unmounted?"
    return ""


def wait_until_back(root: Path, patience: float = PATIENCE_SECONDS) -> bool:
    """Wait until the store is there and takes a megabyte; False where it did not in `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        if _takes(root):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(min(1.0, patience))


def require_store(root: Path) -> None:
    """Before something is written that must not be lost: wait where a marked store is not there now.

    What is written to an empty mount point disappears under what is mounted there later. Raises StorageAwayError.
    """
    if not (root / MARK).exists() and not wait_until_back(root):
        raise StorageAwayError(str(root), found="not there, or empty: unmounted?", do="mount it, then run again")


def _takes(root: Path) -> bool:
    probe = root / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        if not (root / MARK).exists():
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
