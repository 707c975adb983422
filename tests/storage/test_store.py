"""A store in a folder or behind a URL: whole files, commit files last, equal results on every machine."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from machines import Machines, Server, contents, finish

from sweeper.errors import StorageUnavailableError, StoreError, UsageError
from sweeper.storage import Store, read_json, write_bytes, write_json
from sweeper.storage import object_store as remote

pytestmark = pytest.mark.usefixtures("quick_retries")


def test_store_push_and_pull_round_trip(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_store_pull_brings_only_matching_files(far_machines: Machines) -> None:
    finish(far_machines.here, "a")
    there = far_machines.there
    there.pull(there.trial_folder("a"), patterns=["*.json"])
    assert contents(there.trial_folder("a")).keys() == {"spec.json", "record.json"}
    there.pull(there.trial_folder("a"), patterns=["model/*"])
    assert "model/tokenizer/tokenizer.json" in contents(there.trial_folder("a"))
    assert not (there.trial_folder("a") / "history.parquet").exists()


def test_store_push_uploads_a_changed_file_of_equal_size(machines: Machines) -> None:
    here, there = machines.here, machines.there
    path, far = here.study_folder("q") / "plan.json", there.study_folder("q") / "plan.json"
    for value in (1, 2, 3):
        write_json(path, {"value": value})
        here.push(path.parent)
        there.pull(far.parent)
        assert read_json(far) == {"value": value}


def test_store_push_makes_the_record_visible_last(machines: Machines) -> None:
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


def test_store_pull_deletes_commit_files_that_were_deleted_remotely(far_machines: Machines) -> None:
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


def test_store_delete_removes_local_and_remote_files(machines: Machines) -> None:
    here, there = machines.here, machines.there
    for step in (10, 20):
        write_bytes(here.trial_folder("a") / "checkpoints" / f"checkpoint-{step}" / "weights", b"x")
    here.push(here.trial_folder("a"))
    here.delete(here.trial_folder("a") / "checkpoints" / "checkpoint-10")
    here.delete(here.trial_folder("a") / "never.json")
    there.pull(there.trial_folder("a"))
    assert [path.name for path in (there.trial_folder("a") / "checkpoints").iterdir()] == ["checkpoint-20"]
    assert here.list_subfolders(here.trial_folder("a") / "checkpoints") == ["checkpoint-20"]


def test_store_push_leaves_no_partial_trial_when_interrupted(
    far_machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_store_pull_leaves_no_file_when_interrupted(far_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(UsageError, match="an empty name"):
        Store.from_location("")
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


def test_store_lock_folder_refuses_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    def refuse(self: FileLock, **options: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(StoreError, match="without locks"), Store(tmp_path).lock_folder(tmp_path / "trials" / "a"):
        pass


@pytest.mark.slow
def test_store_pull_results_reads_many_trials_in_few_requests(s3: Server, s3_url: str, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here", s3_url), Store(tmp_path / "there", s3_url)
    names = [f"trial{number:04d}" for number in range(200)]
    for name in names:
        write_json(here.record_path(name), {"name": name})
        write_json(here.evaluation_folder(name, "suite") / "summary.json", {"name": name})
        write_bytes(here.trial_folder(name) / "model" / "model.safetensors", b"large, and of no use to a status")
    here.push(here.root / "trials")
    before = len(s3.requests())
    asked = dict.fromkeys([*names, "not-begun"], "suite")
    there.pull_results(asked)
    requests = s3.requests()[before:]
    assert len([line for line in requests if "list-type=2" in line]) <= 3
    assert len(requests) <= 3 + 2 * len(names)
    assert all(read_json(there.record_path(name)) == {"name": name} for name in names)
    assert not (there.trial_folder(names[0]) / "model").exists()
    before = len(s3.requests())
    write_json(here.record_path(names[7]), {"name": "trial9999"})  # as long as before
    here.push(here.record_path(names[7]))
    there.pull_results(asked)
    assert len(s3.requests()) - before <= 6, "what is the same is not asked for again"
    assert read_json(there.record_path(names[7])) == {"name": "trial9999"}


@pytest.mark.slow
def test_store_refuses_unusable_locations(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Store.from_location("s3://bucket/new").url == "s3://bucket/new"
    with pytest.raises(StoreError, match="no bucket nobucket"):
        Store.from_location("s3://nobucket/store")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    remote._connect_filesystem.cache_clear()
    with pytest.raises(StorageUnavailableError, match="Could not connect") as away:
        Store.from_location("s3://bucket/store")
    assert "s3://bucket/store" in str(away.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    remote._connect_filesystem.cache_clear()
    with pytest.raises(StoreError, match="credentials"):
        Store.from_location("s3://bucket/store")
    remote._connect_filesystem.cache_clear()


@pytest.mark.slow
def test_store_uses_a_working_copy_per_server(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Store.from_location("s3://bucket/store").root
    monkeypatch.setattr(remote.RemoteStore, "check_access", lambda self: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert Store.from_location("s3://bucket/store").root != one
