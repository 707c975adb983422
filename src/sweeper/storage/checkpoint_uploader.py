"""Background upload of checkpoints to a store behind a URL."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from sweeper.storage.atomic_io import link_or_copy
from sweeper.storage.store import Store


class CheckpointUploader:
    """Uploads the checkpoints of one trial while it trains; one rank has one. Does nothing for a local store.

    A checkpoint that is still waiting when the next one arrives is skipped. Hard links are made at once and uploaded,
    so the trainer can delete its checkpoints at any time. The URL keeps the newest checkpoint, the one before it, and
    optionally one more.

    Args:
        store: the store.
        check_lease: called before each upload; raises if the trial belongs to another process now (`Lock.check_lease`).
    """

    def __init__(self, store: Store, check_lease: Callable[[], None] = lambda: None) -> None:
        self._store, self.check_lease = store, check_lease
        self._pending_checkpoint: Path | None = None
        self._skipped_steps: set[int] = set()
        self._retained_step: int | None = None
        self._is_uploading = self._is_closed = False
        self._error: Exception | None = None
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run_uploads, name="uploads", daemon=True)

    def enqueue(self, checkpoint: Path, retained_step: int | None = None) -> None:
        """Queue a complete checkpoint for upload.

        Args:
            checkpoint: its folder, `…/checkpoints/checkpoint-<step>`.
            retained_step: step of a further checkpoint that the URL keeps.
        """
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
        """Wait for all uploads, and raise the error of the newest checkpoint if its upload failed."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending_checkpoint is None and not self._is_uploading)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def discard_pending(self) -> None:
        """Skip the waiting checkpoint and finish the running upload; for a trial whose model is saved."""
        with self._condition:
            self._skip_checkpoint(self._pending_checkpoint)
            self._pending_checkpoint = None
            self._condition.wait_for(lambda: not self._is_uploading)
            self._error = None

    def __enter__(self) -> CheckpointUploader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Finish all uploads: after an interruption, another machine resumes from them."""
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
            except Exception as error:  # raised by `wait_until_uploaded`, unless the next upload succeeds
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
        # Later checkpoints stay: another machine's part of the next one may be there already. Skipped ones are
        # incomplete: they may have another machine's part, or half of ours.
        earlier = {_parse_step(name) for name in checkpoints if _parse_step(name) < _parse_step(checkpoint.name)}
        complete = earlier - self._skipped_steps
        kept = {max(complete, default=0), self._retained_step} & complete
        for step in earlier - kept:
            self._store.delete_remotely(checkpoint.parent / f"checkpoint-{step}")


def _staging_folder(checkpoint: Path) -> Path:
    return checkpoint.parent.parent / ".uploads" / checkpoint.name


def _stage_links(checkpoint: Path) -> None:
    """Link the files under another name, where they outlive the trainer's deletions."""
    links = _staging_folder(checkpoint)
    shutil.rmtree(links, ignore_errors=True)
    shutil.copytree(checkpoint, links, copy_function=link_or_copy)


def _remove_links(checkpoint: Path | None) -> None:
    if checkpoint is not None:
        shutil.rmtree(_staging_folder(checkpoint), ignore_errors=True)


def _parse_step(name: str) -> int:
    return int(name.rsplit("-", 1)[1])
