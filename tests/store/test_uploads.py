"""Checkpoints go up while training goes on, whole, newest first, and none that no longer matters."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from machines import Machines

from sweeper.errors import StorageAwayError
from sweeper.store import LeaseLostError, Store, Uploads, remote, write_bytes, write_json


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 0.5)


def checkpoint(store: Store, step: int) -> Path:
    path = store.trial("a") / "checkpoints" / f"checkpoint-{step}"
    write_bytes(path / "weights", f"step {step}".encode() * 100)
    write_bytes(path / "global_step" / "shard_0", b"x")
    write_json(path / "sweeper-complete", {"step": step})
    return path


def uploaded(store: Store) -> list[str]:
    return store.names(store.trial("a") / "checkpoints")


def test_another_machine_goes_on_from_the_last_two(far_machines: Machines) -> None:
    here, there = far_machines.here, far_machines.there
    with Uploads(here) as uploads:
        for step in (10, 20, 30):
            uploads.push(checkpoint(here, step))
            uploads.wait()
    assert uploaded(here) == ["checkpoint-20", "checkpoint-30"]
    there.pull(there.trial("a"))
    folder = there.trial("a") / "checkpoints"
    assert (folder / "checkpoint-30" / "weights").read_bytes() == b"step 30" * 100
    assert (folder / "checkpoint-30" / "sweeper-complete").exists()
    assert (folder / "checkpoint-30" / "global_step" / "shard_0").exists()
    assert not (here.trial("a") / ".uploads" / "checkpoint-30").exists()


def test_one_more_stays_where_it_is_named(far_machines: Machines) -> None:
    here = far_machines.here
    with Uploads(here) as uploads:
        for step in (10, 20, 30, 40):
            uploads.push(checkpoint(here, step), keep=10)
            uploads.wait()
    assert uploaded(here) == ["checkpoint-10", "checkpoint-30", "checkpoint-40"]


def test_another_machines_part_of_the_next_one_stays(far_machines: Machines) -> None:
    here = far_machines.here
    for step in (10, 20, 40):
        here.push(checkpoint(here, step))
    with Uploads(here) as uploads:  # of 40 another machine's part was there earlier
        uploads.push(checkpoint(here, 30))
    assert uploaded(here) == ["checkpoint-20", "checkpoint-30", "checkpoint-40"]


def test_what_was_left_out_is_none_to_fall_back_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20, of which another machine's part is there, is overtaken while it waits; 40 breaks off in its middle."""
    store = Store(tmp_path, "memory://uploads-left-out/store")
    begun, may_go_on, put = threading.Event(), threading.Event(), remote.Remote._put

    def slow(self: remote.Remote, files: dict[str, Path]) -> None:
        begun.set()
        assert may_go_on.wait(30)
        if any("checkpoint-40" in key for key in files):
            put(self, dict(list(files.items())[:1]))
            raise ConnectionResetError("gone")
        put(self, files)

    may_go_on.set()
    store.push(checkpoint(store, 20) / "global_step")
    may_go_on.clear()
    monkeypatch.setattr(remote.Remote, "_put", slow)
    with Uploads(store) as uploads:
        uploads.push(checkpoint(store, 10))
        assert begun.wait(30)
        for step in (20, 30):
            uploads.push(checkpoint(store, step))
        may_go_on.set()
        uploads.wait()
        assert uploaded(store) == ["checkpoint-10", "checkpoint-30"]
        uploads.push(checkpoint(store, 40))
        with pytest.raises(StorageAwayError):
            uploads.wait()
        assert uploaded(store) == ["checkpoint-10", "checkpoint-30", "checkpoint-40"]
        uploads.push(checkpoint(store, 50))
        uploads.wait()
        assert uploaded(store) == ["checkpoint-30", "checkpoint-50"]


def test_training_neither_waits_nor_keeps_files_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, "memory://uploads-wait/store")
    begun, may_go_on = threading.Event(), threading.Event()
    put = remote.Remote._put

    def slow(self: remote.Remote, files: dict[str, Path]) -> None:
        begun.set()
        assert may_go_on.wait(30)
        put(self, files)

    monkeypatch.setattr(remote.Remote, "_put", slow)
    with Uploads(store) as uploads:
        uploads.push(checkpoint(store, 10))
        assert begun.wait(30)
        for step in (20, 30, 40):
            uploads.push(checkpoint(store, step))
        shutil.rmtree(store.trial("a") / "checkpoints")  # as the trainer's own clearing up does
        may_go_on.set()
        uploads.wait()
    assert uploaded(store) == ["checkpoint-10", "checkpoint-40"], "20 and 30 were overtaken while they waited"
    assert list((store.trial("a") / ".uploads").iterdir()) == []


def test_what_fails_is_told_unless_a_later_one_made_up_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, "memory://uploads-fail/store")
    put = remote.Remote._put

    def away(self: remote.Remote, files: dict[str, Path]) -> None:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(remote.Remote, "_put", away)
    uploads = Uploads(store)
    uploads.push(checkpoint(store, 10))
    with pytest.raises(StorageAwayError, match="gone"):
        uploads.wait()
    uploads.push(checkpoint(store, 20))
    uploads.discard()
    monkeypatch.setattr(remote.Remote, "_put", put)
    uploads.push(checkpoint(store, 30))
    uploads.wait()
    assert uploaded(store) == ["checkpoint-30"]


def test_nothing_goes_up_once_the_lease_is_lost(tmp_path: Path) -> None:
    store = Store(tmp_path, "memory://uploads-lost/store")

    def lost() -> None:
        raise LeaseLostError("trial a")

    with pytest.raises(LeaseLostError), Uploads(store, may=lost) as uploads:
        uploads.push(checkpoint(store, 10))
    assert uploaded(store) == []


def test_a_local_store_needs_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with Uploads(store) as uploads:
        uploads.push(checkpoint(store, 10))
    assert not (store.trial("a") / ".uploads").exists()
