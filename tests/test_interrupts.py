"""Ctrl-C during a garbage collection, where Python would print it and go on."""

from __future__ import annotations

import os
import signal
import threading
import weakref

import pytest

from sweeper.interrupts import collect_garbage


class Cycle:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.me = self


def test_an_interrupt_in_a_callback_of_the_collection_is_raised_after_it() -> None:
    ran = []

    def interrupt(_: object) -> None:
        ran.append(True)
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))  # the handler runs here, between two instructions

    cycle = Cycle()
    kept = weakref.ref(cycle, interrupt)
    del cycle
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        collect_garbage()
    assert ran == [True] and kept() is None and signal.getsignal(signal.SIGINT) is before


def test_without_an_interrupt_nothing_happens() -> None:
    collect_garbage()
    thread = threading.Thread(target=collect_garbage)
    thread.start()
    thread.join()
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        collect_garbage()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, ignored)
