"""SIGTERM, as a spot machine gives it before it goes: the trial saves a checkpoint and ends; another worker goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sweeper.errors import UsageError

_asked = threading.Event()
_training = threading.Event()
_PROCESSES = Path("/proc/self/fd").exists()
"""Whether this system shows what its processes hold open."""
_MARK = Path(f"/tmp/sweeper-trains-{os.getuid() if _PROCESSES else ''}")  # noqa: S108
"""Held open, and nothing else, by this user's processes while they train: so others of this machine find them."""


def install() -> None:
    """Have SIGTERM wait for a checkpoint while a trial trains in this process; else it does what it did before.

    To be called from the main thread, where Python handles signals; a trial may train in another one.
    """
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        if _training.is_set():
            _asked.set()
        elif callable(before):
            before(number, frame)
        else:
            signal.signal(number, before if before is not None else signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)


def asked_to_go() -> bool:
    """Whether SIGTERM came while this trial trained."""
    return _asked.is_set()


@contextmanager
def preemptible() -> Iterator[None]:
    """A stretch of training. In the main thread it installs the handler itself, and takes it away again."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    if main:
        install()
    _asked.clear()
    _training.set()
    mark = os.open(_MARK, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600) if _PROCESSES else None
    try:
        yield
    finally:
        if mark is not None:
            os.close(mark)
        _training.clear()
        if main:
            signal.signal(signal.SIGTERM, before)


def leave(seconds: float) -> tuple[int, int]:
    """Have every trial that this user trains on this machine save a checkpoint and end; wait for it, `seconds` at most.

    Returns how many processes were asked, and how many of them still train. UsageError where there is no /proc.
    """
    asked = _training_here()
    for pid in asked:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + seconds
    while (left := asked & _training_here()) and time.monotonic() < until:
        time.sleep(0.2)
    return len(asked), len(left)


def _training_here() -> set[int]:
    """Ids of the processes that hold the mark, but those that have it from their parent: a loader's workers."""
    if not _PROCESSES:
        raise UsageError("leave", found="no /proc, by which processes are found", do="send SIGTERM to the workers")
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if any(link.readlink() == _MARK for link in (process / "fd").iterdir()):
                parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return {pid for pid, parent in parents.items() if parent not in parents}
