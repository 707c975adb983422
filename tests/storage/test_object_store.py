"""The store's guarantees hold wherever it lies: whole files, the last ones last, one holder, running again resumes."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from machines import Machines

from sweeper.errors import StorageUnavailableError, StoreError, UsageError
from sweeper.storage import (
    LeaseLostError,
    LockHeldError,
    Store,
    lease,
    read_json,
    write_bytes,
    write_json,
)
from sweeper.storage import (
    object_store as remote,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "INITIAL_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)


def finish(store: Store, fingerprint: str, metric: float = 1.0) -> None:
    """What a trial leaves."""
    folder = store.trial_folder(fingerprint)
    write_json(folder / "spec.json", {"seed": 0})
    write_bytes(folder / "model" / "model.safetensors", os.urandom(1000))
    write_bytes(folder / "model" / "tokenizer" / "tokenizer.json", b"{}")
    write_bytes(folder / "history.parquet", b"history")
    store.push(folder)
    store.publish(store.record_path(fingerprint), {"metric": metric})


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_push_and_pull_round_trip(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MD5_COMPARISON_MAX_BYTES", 100)
    here, there = machines.here, machines.there
    finish(here, "a")
    there.pull(there.trial_folder("a"))
    assert contents(there.trial_folder("a")) == contents(here.trial_folder("a"))
    assert there.list_subfolders(there.root / "trials") == ["a"]
    large = there.trial_folder("a") / "model" / "model.safetensors"
    inode = large.stat().st_ino
    there.pull(there.trial_folder("a"))
    assert large.stat().st_ino == inode, "what is the same is not brought again"


def test_pull_brings_only_matching_files(far_machines: Machines) -> None:
    finish(far_machines.here, "a")
    there = far_machines.there
    there.pull(there.trial_folder("a"), patterns=["*.json"])
    assert contents(there.trial_folder("a")).keys() == {"spec.json", "record.json"}
    there.pull(there.trial_folder("a"), patterns=["model/*"])
    assert "model/tokenizer/tokenizer.json" in contents(there.trial_folder("a"))
    assert not (there.trial_folder("a") / "history.parquet").exists()


def test_push_uploads_a_changed_file_of_equal_size(machines: Machines) -> None:
    here, there = machines.here, machines.there
    path, far = here.study_folder("q") / "plan.json", there.study_folder("q") / "plan.json"
    for value in (1, 2, 3):
        write_json(path, {"value": value})
        here.push(path.parent)
        there.pull(far.parent)
        assert read_json(far) == {"value": value}


def test_record_is_visible_only_after_everything_else(machines: Machines) -> None:
    here, there = machines.here, machines.there
    write_json(here.record_path("a"), {"status": "COMPLETE"})
    for number in range(30):
        write_bytes(here.trial_folder("a") / "model" / f"{number}.bin", os.urandom(2000))
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set() or not seen:
            there.pull(there.trial_folder("a"))
            if there.record_path("a").exists():
                seen.append(len(list((there.trial_folder("a") / "model").glob("*.bin"))))

    reader = threading.Thread(target=look)
    reader.start()
    here.push(here.trial_folder("a"))
    done.set()
    reader.join()
    assert set(seen) == {30}


def test_pull_deletes_commit_files_that_were_deleted_remotely(far_machines: Machines) -> None:
    here, there = far_machines.here, far_machines.there
    finish(here, "a")
    there.pull_results({"a": None})
    assert there.record_path("a").exists()
    here.delete(here.record_path("a"))
    assert there.record_path("a").exists()
    there.pull_results({"a": None})
    assert not there.record_path("a").exists(), "the trial did not finish: the URL is the truth"
    there.pull(there.trial_folder("a"), patterns=["model/*"])
    assert (there.trial_folder("a") / "model" / "model.safetensors").exists()


def test_delete_removes_local_and_remote_files(machines: Machines) -> None:
    here, there = machines.here, machines.there
    for step in (10, 20):
        write_bytes(here.trial_folder("a") / "checkpoints" / f"checkpoint-{step}" / "weights", b"x")
    here.push(here.trial_folder("a"))
    here.delete(here.trial_folder("a") / "checkpoints" / "checkpoint-10")
    here.delete(here.trial_folder("a") / "never.json")
    there.pull(there.trial_folder("a"))
    assert [path.name for path in (there.trial_folder("a") / "checkpoints").iterdir()] == ["checkpoint-20"]
    assert here.list_subfolders(here.trial_folder("a") / "checkpoints") == ["checkpoint-20"]


def test_interrupted_upload_leaves_no_partial_file(far_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = far_machines.here, far_machines.there
    finish(here, "a", 1.0)
    whole = contents(here.trial_folder("a"))
    put = remote.RemoteStore._upload_batch

    def cut(self: remote.RemoteStore, files: dict[str, Path]) -> None:
        first = dict(list(files.items())[:1])
        put(self, first)
        raise KeyboardInterrupt

    monkeypatch.setattr(remote.RemoteStore, "_upload_batch", cut)
    write_json(here.record_path("b"), {"metric": 2.0})
    write_bytes(here.trial_folder("b") / "model" / "a.bin", b"1")
    write_bytes(here.trial_folder("b") / "model" / "b.bin", b"2")
    with pytest.raises(KeyboardInterrupt):
        here.push(here.trial_folder("b"))
    there.pull(there.root / "trials")
    assert not there.record_path("b").exists()
    assert contents(there.trial_folder("a")) == whole
    monkeypatch.undo()
    here.push(here.trial_folder("b"))
    there.pull(there.trial_folder("b"))
    assert there.record_path("b").exists()


def test_interrupted_download_leaves_no_file(far_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(far_machines.here, "a")
    fs, _ = remote._connect_filesystem(str(far_machines.here.url), os.getpid())
    get = fs.get

    def cut(sources: list[str], places: list[str]) -> None:
        get(sources[:1], places[:1])
        Path(places[1]).write_bytes(b"hal")
        raise KeyboardInterrupt

    monkeypatch.setattr(fs, "get", cut)
    there = far_machines.there
    with pytest.raises(KeyboardInterrupt):
        there.pull(there.trial_folder("a"))
    assert [path for path in there.root.rglob("*") if path.is_file()] == []


def test_lock_has_one_holder_at_a_time(machines: Machines) -> None:
    here, there = machines.here, machines.there
    folder, far = here.trial_folder("a"), there.trial_folder("a")
    assert not there.is_locked(far)
    with here.lock_folder(folder) as hold:
        hold.check_lease()
        assert there.is_locked(far)
        assert there.pull_results({"a": None}).is_locked(far)
        assert not there.pull_results({"a": None}).is_locked(there.trial_folder("b"))
        with pytest.raises(LockHeldError), there.lock_folder(far, timeout=0):
            pass
    assert not there.is_locked(far)
    waited: list[float] = []

    def wait() -> None:
        with there.lock_folder(far):
            waited.append(time.monotonic())

    with here.lock_folder(folder):
        other = threading.Thread(target=wait)
        other.start()
        time.sleep(0.3)
        released = time.monotonic()
    other.join()
    assert waited[0] > released


def test_lock_reports_a_lease_that_was_taken_over(far_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = far_machines.here, far_machines.there
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.3)
    with (
        pytest.raises(LeaseLostError, match="took it over"),
        here.lock_folder(here.trial_folder("a")) as hold,
        there.lock_folder(there.trial_folder("a")) as other,
    ):
        other.check_lease()
        here.check_folder_lease(here.trial_folder("a"), other.generation)  # as another process on their machine asks
        with pytest.raises(LeaseLostError, match="took it over"):
            here.check_folder_lease(here.trial_folder("a"), hold.generation)
        hold.check_lease()
    with here.lock_folder(here.trial_folder("a"), timeout=0):
        pass


def test_lease_of_a_living_holder_is_not_taken_over(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.0)
    here, there = machines.here, machines.there
    with here.lock_folder(here.trial_folder("a")) as hold:
        with pytest.raises(LockHeldError), there.lock_folder(there.trial_folder("a"), timeout=2):
            pass
        hold.check_lease()


def test_wait_for_store_waits_for_storage_that_is_away(far_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0
    put = remote.RemoteStore._upload_batch

    def away(self: remote.RemoteStore, files: dict[str, Path]) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ConnectionResetError("gone for lunch")
        put(self, files)

    monkeypatch.setattr(remote.RemoteStore, "_upload_batch", away)
    finish(far_machines.here, "a")
    far_machines.there.pull(far_machines.there.trial_folder("a"))
    assert contents(far_machines.there.trial_folder("a")) == contents(far_machines.here.trial_folder("a"))
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.1)
    tries = -1000
    write_bytes(far_machines.here.trial_folder("b") / "x", b"x")
    with pytest.raises(StorageUnavailableError, match="gone for lunch"):
        far_machines.here.push(far_machines.here.trial_folder("b"))


def test_full_local_disk_is_not_retried(far_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(far_machines.here, "a")
    fs, _ = remote._connect_filesystem(str(far_machines.here.url), os.getpid())
    monkeypatch.setattr(fs, "get", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    started = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        far_machines.there.pull(far_machines.there.trial_folder("a"))
    assert time.monotonic() - started < 5


def test_store_survives_pickling(machines: Machines) -> None:
    finish(machines.here, "a")
    copy = pickle.loads(pickle.dumps(machines.there))
    assert copy == machines.there
    copy.pull(copy.trial_folder("a"))
    assert read_json(copy.record_path("a")) == {"metric": 1.0}


def test_store_location_is_a_folder_or_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    assert Store.from_location(tmp_path) == Store.from_location(f"file://{tmp_path}") == Store(tmp_path.resolve())
    assert Store.from_location(tmp_path).location == str(tmp_path.resolve())
    far = Store.from_location("memory://somewhere/store/")
    assert (far.location, far.root.parent) == ("memory://somewhere/store", (tmp_path / "cache").resolve())
    assert (
        far.root
        == Store.from_location("memory://somewhere/store").root
        != Store.from_location("memory://elsewhere/store").root
    )
    with pytest.raises(UsageError, match="Protocol not known"):
        Store.from_location("nowhere://at/all")
    with pytest.raises(UsageError, match="a secret in the URL") as refused:
        Store.from_location("sftp://me:hunter2@host/store")
    assert "hunter2" not in str(refused.value)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="a file"):
        Store.from_location(tmp_path / "file")


def test_store_names_the_package_of_a_missing_driver() -> None:
    code = (
        "import sys; sys.modules['s3fs'] = None; sys.argv[1:] = ['status', 'quickstart', '--storage', 's3://b/store']"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom sweeper.cli import main\nmain()"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "pip install 'sweeper[s3]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_lock_refuses_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    def refuse(self: FileLock, **options: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(StoreError, match="without locks"), Store(tmp_path).lock_folder(tmp_path / "trials" / "a"):
        pass


def test_md5_is_read_from_each_storages_metadata() -> None:
    digest = "900150983cd24fb0d6963f7d28e17f72"
    raw = bytes.fromhex(digest)
    for found in (
        {"ETag": f'"{digest}"'},
        {"md5Hash": base64.b64encode(raw).decode()},
        {"content_settings": {"content_md5": bytearray(raw)}},
    ):
        assert remote.RemoteFile.from_listing({"size": 3, **found}).md5 == digest
    assert remote.RemoteFile.from_listing({"size": 3, "ETag": f'"{digest}-2"'}).md5 is None
    assert remote.RemoteFile.from_listing({"size": 3, "updated": "2026-01-01T00:00:00Z"}).modified_at == 1767225600
