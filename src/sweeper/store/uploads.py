"""Checkpoints on their way to a store behind a URL, while training goes on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from sweeper.store.files import link_or_copy
from sweeper.store.layout import Store


class Uploads:
    """Uploads the checkpoints of one trial in the background; one rank has one. Does nothing for a local store.

    A checkpoint that is still waiting when the next one comes is left out. What goes up are hard links made at once,
    so the trainer may delete its checkpoints whenever it likes. Behind the URL stay the newest, the one before, and one
    more where it is named.
    """

    def __init__(self, store: Store, may: Callable[[], None] = lambda: None) -> None:
        """`may` is asked before each upload, and raises where it must not be (`Hold.check`)."""
        self._store, self.may = store, may
        self._next: Path | None = None
        self._left_out: set[int] = set()
        self._keep: int | None = None
        self._busy = self._ended = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)

    def push(self, checkpoint: Path, keep: int | None = None) -> None:
        """Upload a whole checkpoint, `…/checkpoints/checkpoint-<step>`, soon. `keep`: step of one that stays, too."""
        if self._store.url is None:
            return
        _link(checkpoint)
        with self._changed:
            if self._next not in (None, checkpoint):
                self._leave_out(self._next)
            self._next, self._keep = checkpoint, keep
            if not self._thread.is_alive():
                self._thread.start()
            self._changed.notify_all()

    def wait(self) -> None:
        """Until nothing is left to upload. Raises what kept the newest checkpoint from it, after all tries."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is None and not self._busy)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def discard(self) -> None:
        """Leave out what is waiting, and end what has begun: the model itself is there now."""
        with self._changed:
            self._leave_out(self._next)
            self._next = None
            self._changed.wait_for(lambda: not self._busy)
            self._error = None

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """What is waiting still goes up: after an interruption another machine goes on from it."""
        try:
            self.wait()
        except Exception:
            if kind is None:
                raise
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _leave_out(self, checkpoint: Path | None) -> None:
        if checkpoint is not None:
            self._left_out.add(_step(checkpoint.name))
            _unlink(checkpoint)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or self._ended)
                if self._next is None:
                    return
                checkpoint, self._next, self._busy = self._next, None, True
            failed: Exception | None = None
            try:
                self._upload(checkpoint)
            except Exception as error:  # told by `wait`; the next checkpoint may fare better
                failed = error
                self._left_out.add(_step(checkpoint.name))
            with self._changed:
                self._error, self._busy = failed, False
                if self._next != checkpoint:
                    _unlink(checkpoint)
                self._changed.notify_all()

    def _upload(self, checkpoint: Path) -> None:
        self.may()
        self._store.push(_links(checkpoint), to=checkpoint)
        checkpoints = self._store.names(checkpoint.parent)
        # Not later ones: of the next, another machine's part may be there already. Of one that was left out that part
        # may be there, too, or half of ours: none to fall back on.
        earlier = {_step(name) for name in checkpoints if _step(name) < _step(checkpoint.name)}
        whole = earlier - self._left_out
        stay = {max(whole, default=0), self._keep} & whole
        for step in earlier - stay:
            self._store.remove_remotely(checkpoint.parent / f"checkpoint-{step}")


def _links(checkpoint: Path) -> Path:
    return checkpoint.parent.parent / ".uploads" / checkpoint.name


def _link(checkpoint: Path) -> None:
    """The same files under another name: they outlive the trainer's own clearing up."""
    links = _links(checkpoint)
    shutil.rmtree(links, ignore_errors=True)
    shutil.copytree(checkpoint, links, copy_function=link_or_copy)


def _unlink(checkpoint: Path | None) -> None:
    if checkpoint is not None:
        shutil.rmtree(_links(checkpoint), ignore_errors=True)


def _step(name: str) -> int:
    return int(name.rsplit("-", 1)[1])
