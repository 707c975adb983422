"""SIGTERM, as a spot machine gives it before it goes: the trial saves a checkpoint and ends; another worker goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_asked = threading.Event()
_training = threading.Event()


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
    try:
        yield
    finally:
        _training.clear()
        if main:
            signal.signal(signal.SIGTERM, before)
