"""Preemption: on SIGTERM (a spot instance is reclaimed), a trial saves a checkpoint and stops, to be resumed later."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from sweeper.errors import UsageError

_preemption_requested = threading.Event()
_training_active = threading.Event()
_HAS_PROC = Path("/proc/self/fd").exists()
"""Whether this system lists the open files of its processes."""
_TRAINING_MARKER = Path(f"/tmp/sweeper-trains-{os.getuid() if _HAS_PROC else ''}")  # noqa: S108
"""Held open by this user's processes while they train, so that `drain` can find them."""


def install_signal_handler() -> None:
    """Make SIGTERM wait for a checkpoint while a trial trains in this process; otherwise keep its previous effect.

    Call it from the main thread, where Python handles signals; the trial may train in another one.
    """
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        if _training_active.is_set():
            _preemption_requested.set()
        elif callable(before):
            before(number, frame)
        else:
            signal.signal(number, before if before is not None else signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)


def is_preemption_requested() -> bool:
    """Return whether SIGTERM arrived while this trial trained."""
    return _preemption_requested.is_set()


@contextmanager
def allow_preemption() -> Iterator[None]:
    """Let SIGTERM save a checkpoint within this context. In the main thread, install the handler for its duration."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    if main:
        install_signal_handler()
    _preemption_requested.clear()
    _training_active.set()
    marker = (
        os.open(_TRAINING_MARKER, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600) if _HAS_PROC else None
    )
    try:
        yield
    finally:
        if marker is not None:
            os.close(marker)
        _training_active.clear()
        if main:
            signal.signal(signal.SIGTERM, before)


def drain(seconds: float) -> tuple[int, int]:
    """Make every trial that this user trains on this machine save a checkpoint and stop.

    Args:
        seconds: how long to wait for them.

    Returns:
        How many processes were signaled, and how many of them are still training.

    Raises:
        UsageError: a system without /proc.
    """
    signaled = _find_training_processes()
    for pid in signaled:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while (remaining := signaled & _find_training_processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return len(signaled), len(remaining)


def _find_training_processes() -> set[int]:
    """Return the ids of the processes that hold the marker, except data loader workers, which inherit it."""
    if not _HAS_PROC:
        raise UsageError("drain", found="no /proc to find the processes in", hint="send SIGTERM to the workers")
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if any(link.readlink() == _TRAINING_MARKER for link in (process / "fd").iterdir()):
                parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return {pid for pid, parent in parents.items() if parent not in parents}
