"""Watch a store from the driver: the trials wait for storage that is away, and somebody has to say so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sweeper.storage import Store
from sweeper.storage.availability import OUTAGE_TIMEOUT_SECONDS, is_present

POLL_SECONDS = 1.0


@contextmanager
def watch_storage(store: Store, print_line: Callable[[str], None]) -> Iterator[None]:
    """Say when a store goes away, and when it is back. A store behind a URL is not watched: its calls are retried.

    Args:
        store: a store that `mark_store` returned.
        print_line: receives one line per change, in another thread.
    """
    stop = threading.Event()

    def poll() -> None:
        was_present = True
        while not stop.wait(POLL_SECONDS):
            if (now_present := is_present(store)) == was_present:
                continue
            was_present = now_present
            if now_present:
                print_line(f"{store.location} is back: the trials go on")
            else:
                minutes = OUTAGE_TIMEOUT_SECONDS / 60
                print_line(
                    f"{store.location} is missing or empty; is it unmounted? Trials that write to it wait for up to "
                    f"{minutes:g} minutes"
                )

    # A daemon, and not joined: a look at a dead network mount does not return.
    threading.Thread(target=poll, name="storage-watch", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
