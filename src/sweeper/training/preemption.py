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

_preemption_requested = threading.Event()
_training_active = threading.Event()
_HAS_PROC = Path("/proc/self/fd").exists()
"""Whether this system shows what its processes hold open."""
_TRAINING_MARKER = Path(f"/tmp/sweeper-trains-{os.getuid() if _HAS_PROC else ''}")  # noqa: S108
"""Held open, and nothing else, by this user's processes while they train: so others of this machine find them."""


def install_signal_handler() -> None:
    """Have SIGTERM wait for a checkpoint while a trial trains in this process; else it does what it did before.

    To be called from the main thread, where Python handles signals; a trial may train in another one.
    """
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        if _training_active.is_set():
            _preemption_requested.set()
        elif callable(before):
            before(number, frame)
        else:
            signal.signal(number, before if before is not None else signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)


def is_preemption_requested() -> bool:
    """Whether SIGTERM came while this trial trained."""
    return _preemption_requested.is_set()


@contextmanager
def allow_preemption() -> Iterator[None]:
    """A stretch of training. In the main thread it installs the handler itself, and takes it away again."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    if main:
        install_signal_handler()
    _preemption_requested.clear()
    _training_active.set()
    mark = (
        os.open(_TRAINING_MARKER, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600) if _HAS_PROC else None
    )
    try:
        yield
    finally:
        if mark is not None:
            os.close(mark)
        _training_active.clear()
        if main:
            signal.signal(signal.SIGTERM, before)


def drain(seconds: float) -> tuple[int, int]:
    """Have every trial that this user trains on this machine save a checkpoint and end; wait for it, `seconds` at most.

    Returns how many processes were asked, and how many of them still train. UsageError where there is no /proc.
    """
    asked = _find_training_processes()
    for pid in asked:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + seconds
    while (left := asked & _find_training_processes()) and time.monotonic() < until:
        time.sleep(0.2)
    return len(asked), len(left)


def _find_training_processes() -> set[int]:
    """Ids of the processes that hold the mark, but those that have it from their parent: a loader's workers."""
    if not _HAS_PROC:
        raise UsageError("leave", found="no /proc, by which processes are found", hint="send SIGTERM to the workers")
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if any(link.readlink() == _TRAINING_MARKER for link in (process / "fd").iterdir()):
                parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return {pid for pid, parent in parents.items() if parent not in parents}
