"""Checkpoints on their way to a store behind a URL, while training goes on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from sweeper.storage.atomic_io import link_or_copy
from sweeper.storage.store import Store


class CheckpointUploader:
    """Uploads the checkpoints of one trial in the background; one rank has one. Does nothing for a local store.

    A checkpoint that is still waiting when the next one comes is left out. What goes up are hard links made at once,
    so the trainer may delete its checkpoints whenever it likes. Behind the URL stay the newest, the one before, and one
    more where it is named.
    """

    def __init__(self, store: Store, check_lease: Callable[[], None] = lambda: None) -> None:
        """`may` is asked before each upload, and raises where it must not be (`Hold.check`)."""
        self._store, self.check_lease = store, check_lease
        self._pending_checkpoint: Path | None = None
        self._skipped_steps: set[int] = set()
        self._retained_step: int | None = None
        self._is_uploading = self._is_closed = False
        self._error: Exception | None = None
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run_uploads, name="uploads", daemon=True)

    def enqueue(self, checkpoint: Path, retained_step: int | None = None) -> None:
        """Upload a whole checkpoint, `…/checkpoints/checkpoint-<step>`, soon. `keep`: step of one that stays, too."""
        if self._store.url is None:
            return
        _stage_links(checkpoint)
        with self._condition:
            if self._pending_checkpoint not in (None, checkpoint):
                self._skip_checkpoint(self._pending_checkpoint)
            self._pending_checkpoint, self._retained_step = checkpoint, retained_step
            if not self._thread.is_alive():
                self._thread.start()
            self._condition.notify_all()

    def wait_until_uploaded(self) -> None:
        """Until nothing is left to upload. Raises what kept the newest checkpoint from it, after all tries."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending_checkpoint is None and not self._is_uploading)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def discard_pending(self) -> None:
        """Leave out what is waiting, and end what has begun: the model itself is there now."""
        with self._condition:
            self._skip_checkpoint(self._pending_checkpoint)
            self._pending_checkpoint = None
            self._condition.wait_for(lambda: not self._is_uploading)
            self._error = None

    def __enter__(self) -> CheckpointUploader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """What is waiting still goes up: after an interruption another machine goes on from it."""
        try:
            self.wait_until_uploaded()
        except Exception:
            if kind is None:
                raise
        finally:
            with self._condition:
                self._is_closed = True
                self._condition.notify_all()

    def _skip_checkpoint(self, checkpoint: Path | None) -> None:
        if checkpoint is not None:
            self._skipped_steps.add(_parse_step(checkpoint.name))
            _remove_links(checkpoint)

    def _run_uploads(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._pending_checkpoint is not None or self._is_closed)
                if self._pending_checkpoint is None:
                    return
                checkpoint, self._pending_checkpoint, self._is_uploading = self._pending_checkpoint, None, True
            failed: Exception | None = None
            try:
                self._upload_checkpoint(checkpoint)
            except Exception as error:  # told by `wait`; the next checkpoint may fare better
                failed = error
                self._skipped_steps.add(_parse_step(checkpoint.name))
            with self._condition:
                self._error, self._is_uploading = failed, False
                if self._pending_checkpoint != checkpoint:
                    _remove_links(checkpoint)
                self._condition.notify_all()

    def _upload_checkpoint(self, checkpoint: Path) -> None:
        self.check_lease()
        self._store.push(_staging_folder(checkpoint), destination=checkpoint)
        checkpoints = self._store.list_subfolders(checkpoint.parent)
        # Not later ones: of the next, another machine's part may be there already. Of one that was left out that part
        # may be there, too, or half of ours: none to fall back on.
        earlier = {_parse_step(name) for name in checkpoints if _parse_step(name) < _parse_step(checkpoint.name)}
        whole = earlier - self._skipped_steps
        stay = {max(whole, default=0), self._retained_step} & whole
        for step in earlier - stay:
            self._store.delete_remotely(checkpoint.parent / f"checkpoint-{step}")


def _staging_folder(checkpoint: Path) -> Path:
    return checkpoint.parent.parent / ".uploads" / checkpoint.name


def _stage_links(checkpoint: Path) -> None:
    """The same files under another name: they outlive the trainer's own clearing up."""
    links = _staging_folder(checkpoint)
    shutil.rmtree(links, ignore_errors=True)
    shutil.copytree(checkpoint, links, copy_function=link_or_copy)


def _remove_links(checkpoint: Path | None) -> None:
    if checkpoint is not None:
        shutil.rmtree(_staging_folder(checkpoint), ignore_errors=True)


def _parse_step(name: str) -> int:
    return int(name.rsplit("-", 1)[1])
