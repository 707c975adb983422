"""Looking on at a run from outside, to hit it where it hurts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from warm import Running

from sweeper.storage import Store


def until(true: Callable[[], object], run: subprocess.Popen[bytes] | Running, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert run.poll() is None, "it ended before its time"
        assert time.monotonic() < end, "it does not come to it"
        time.sleep(0.05)


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come to it"
        time.sleep(0.01)


def saved(store: Store, fingerprint: str) -> list[int]:
    """Steps of the whole checkpoints of a trial that has not ended."""
    if store.record_path(fingerprint).exists():
        return []
    marks = store.trial_folder(fingerprint).glob("checkpoints/checkpoint-*/sweeper-complete")
    return sorted(int(mark.parent.name.split("-")[1]) for mark in marks)
