"""Checkpoints go up while training goes on, whole, newest first, and none that no longer matters."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from machines import Machines

from sweeper.errors import StorageUnavailableError
from sweeper.storage import CheckpointUploader, LeaseLostError, Store, write_bytes, write_json
from sweeper.storage import object_store as remote


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "INITIAL_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.5)


def checkpoint(store: Store, step: int) -> Path:
    path = store.trial_folder("a") / "checkpoints" / f"checkpoint-{step}"
    write_bytes(path / "weights", f"step {step}".encode() * 100)
    write_bytes(path / "global_step" / "shard_0", b"x")
    write_json(path / "sweeper-complete", {"step": step})
    return path


def uploaded(store: Store) -> list[str]:
    return store.list_subfolders(store.trial_folder("a") / "checkpoints")


def test_uploads_let_another_machine_resume_from_the_last_two(far_machines: Machines) -> None:
    here, there = far_machines.here, far_machines.there
    with CheckpointUploader(here) as uploads:
        for step in (10, 20, 30):
            uploads.enqueue(checkpoint(here, step))
            uploads.wait_until_uploaded()
    assert uploaded(here) == ["checkpoint-20", "checkpoint-30"]
    there.pull(there.trial_folder("a"))
    folder = there.trial_folder("a") / "checkpoints"
    assert (folder / "checkpoint-30" / "weights").read_bytes() == b"step 30" * 100
    assert (folder / "checkpoint-30" / "sweeper-complete").exists()
    assert (folder / "checkpoint-30" / "global_step" / "shard_0").exists()
    assert not (here.trial_folder("a") / ".uploads" / "checkpoint-30").exists()


def test_upload_keeps_the_checkpoint_that_is_named(far_machines: Machines) -> None:
    here = far_machines.here
    with CheckpointUploader(here) as uploads:
        for step in (10, 20, 30, 40):
            uploads.enqueue(checkpoint(here, step), retained_step=10)
            uploads.wait_until_uploaded()
    assert uploaded(here) == ["checkpoint-10", "checkpoint-30", "checkpoint-40"]


def test_uploads_keep_another_machines_part_of_the_next_checkpoint(far_machines: Machines) -> None:
    here = far_machines.here
    for step in (10, 20, 40):
        here.push(checkpoint(here, step))
    with CheckpointUploader(here) as uploads:  # of 40 another machine's part was there earlier
        uploads.enqueue(checkpoint(here, 30))
    assert uploaded(here) == ["checkpoint-20", "checkpoint-30", "checkpoint-40"]


def test_incomplete_upload_is_not_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20, of which another machine's part is there, is overtaken while it waits; 40 breaks off in its middle."""
    store = Store(tmp_path, "memory://uploads-left-out/store")
    begun, may_go_on, put = threading.Event(), threading.Event(), remote.RemoteStore._upload_batch

    def slow(self: remote.RemoteStore, files: dict[str, Path]) -> None:
        begun.set()
        assert may_go_on.wait(30)
        if any("checkpoint-40" in key for key in files):
            put(self, dict(list(files.items())[:1]))
            raise ConnectionResetError("gone")
        put(self, files)

    may_go_on.set()
    store.push(checkpoint(store, 20) / "global_step")
    may_go_on.clear()
    monkeypatch.setattr(remote.RemoteStore, "_upload_batch", slow)
    with CheckpointUploader(store) as uploads:
        uploads.enqueue(checkpoint(store, 10))
        assert begun.wait(30)
        for step in (20, 30):
            uploads.enqueue(checkpoint(store, step))
        may_go_on.set()
        uploads.wait_until_uploaded()
        assert uploaded(store) == ["checkpoint-10", "checkpoint-30"]
        uploads.enqueue(checkpoint(store, 40))
        with pytest.raises(StorageUnavailableError):
            uploads.wait_until_uploaded()
        assert uploaded(store) == ["checkpoint-10", "checkpoint-30", "checkpoint-40"]
        uploads.enqueue(checkpoint(store, 50))
        uploads.wait_until_uploaded()
        assert uploaded(store) == ["checkpoint-30", "checkpoint-50"]


def test_uploader_neither_delays_training_nor_keeps_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, "memory://uploads-wait/store")
    begun, may_go_on = threading.Event(), threading.Event()
    put = remote.RemoteStore._upload_batch

    def slow(self: remote.RemoteStore, files: dict[str, Path]) -> None:
        begun.set()
        assert may_go_on.wait(30)
        put(self, files)

    monkeypatch.setattr(remote.RemoteStore, "_upload_batch", slow)
    with CheckpointUploader(store) as uploads:
        uploads.enqueue(checkpoint(store, 10))
        assert begun.wait(30)
        for step in (20, 30, 40):
            uploads.enqueue(checkpoint(store, step))
        shutil.rmtree(store.trial_folder("a") / "checkpoints")  # as the trainer's own clearing up does
        may_go_on.set()
        uploads.wait_until_uploaded()
    assert uploaded(store) == ["checkpoint-10", "checkpoint-40"], "20 and 30 were overtaken while they waited"
    assert list((store.trial_folder("a") / ".uploads").iterdir()) == []


def test_uploader_reports_a_failure_unless_a_later_upload_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, "memory://uploads-fail/store")
    put = remote.RemoteStore._upload_batch

    def away(self: remote.RemoteStore, files: dict[str, Path]) -> None:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(remote.RemoteStore, "_upload_batch", away)
    uploads = CheckpointUploader(store)
    uploads.enqueue(checkpoint(store, 10))
    with pytest.raises(StorageUnavailableError, match="gone"):
        uploads.wait_until_uploaded()
    uploads.enqueue(checkpoint(store, 20))
    uploads.discard_pending()
    monkeypatch.setattr(remote.RemoteStore, "_upload_batch", put)
    uploads.enqueue(checkpoint(store, 30))
    uploads.wait_until_uploaded()
    assert uploaded(store) == ["checkpoint-30"]


def test_uploader_stops_when_the_lease_is_lost(tmp_path: Path) -> None:
    store = Store(tmp_path, "memory://uploads-lost/store")

    def lost() -> None:
        raise LeaseLostError("trial a")

    with pytest.raises(LeaseLostError), CheckpointUploader(store, check_lease=lost) as uploads:
        uploads.enqueue(checkpoint(store, 10))
    assert uploaded(store) == []


def test_uploader_of_a_local_store_does_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with CheckpointUploader(store) as uploads:
        uploads.enqueue(checkpoint(store, 10))
    assert not (store.trial_folder("a") / ".uploads").exists()
