"""Ctrl-C where Python would lose it."""

from __future__ import annotations

import gc
import signal
import threading
from types import FrameType


def collect_garbage() -> None:
    """Collect garbage, and handle a Ctrl-C that comes meanwhile afterwards.

    Python runs signal handlers between any two instructions, those of weak references' callbacks included, and there it
    prints what they raise and goes on: a KeyboardInterrupt is lost.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        gc.collect()
        return
    caught: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    try:
        gc.collect()
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            handler(*caught[0])
