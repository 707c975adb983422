"""Against a real server process that speaks S3: processes that race, die and freeze, and a server that stalls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machines import Server

from sweeper.errors import StorageUnavailableError, StoreError
from sweeper.storage import Store, lease, read_json, write_bytes, write_json
from sweeper.storage import object_store as remote

pytestmark = pytest.mark.slow

HOLD = """
import sys
from pathlib import Path
from sweeper.storage import LockHeldError, Store, lease
lease.RENEW_SECONDS, lease.EXPIRY_SECONDS, lease.POLL_SECONDS = 0.2, 2.0, 0.1
if sys.argv[4] == "elsewhere":
    lease._identify_machine = lambda: ""
store = Store(Path(sys.argv[1]), sys.argv[2])
try:
    with store.lock_folder(store.trial_folder("a"), timeout=None if sys.argv[3] == "wait" else 0):
        print("held", flush=True)
        sys.stdin.readline()
    print("released", flush=True)
except LockHeldError:
    print("refused", flush=True)
except Exception as error:
    print(type(error).__name__, flush=True)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def url(s3: Server) -> str:
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def start(url: str, tmp_path: Path) -> Iterator[Start]:
    """Processes that want the lock of one trial, each with a working copy of its own, as on a machine of its own."""
    started: list[subprocess.Popen[str]] = []

    def run(patience: str = "refuse", where: str = "here") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path / f"machine-{len(started)}"), url, patience, where]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_exactly_one_of_several_processes_trains(start: Start) -> None:
    processes = [start() for _ in range(5)]
    told = {process.pid: says(process) for process in processes}
    assert sorted(told.values()) == ["held"] + ["refused"] * 4
    (holder,) = (process for process in processes if told[process.pid] == "held")
    waiting = start("wait")
    holder.communicate("\n", timeout=60)
    assert says(waiting) == "held"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_lease_of_a_killed_holder_is_taken_over(start: Start, where: str) -> None:
    """At once where its process can be seen to be dead, and once its lease has run out where it cannot."""
    holder = start(where=where)
    assert says(holder) == "held"
    holder.kill()
    holder.wait()
    others = [start("wait", where) for _ in range(3)]
    began = time.monotonic()
    told: list[str] = []
    readers = [threading.Thread(target=lambda p=p: told.append(says(p)), daemon=True) for p in others]
    for reader in readers:
        reader.start()
    while not told and time.monotonic() - began < 60:
        time.sleep(0.1)
    time.sleep(3)
    assert told == ["held"], "one follows, and the others see that it lives"


def test_lease_of_a_frozen_process_is_reported_lost_when_it_wakes(start: Start) -> None:
    holder = start(where="elsewhere")
    assert says(holder) == "held"
    holder.send_signal(signal.SIGSTOP)
    follower = start("wait", "elsewhere")
    assert says(follower) == "held"
    holder.send_signal(signal.SIGCONT)
    time.sleep(1)
    answer, _ = holder.communicate("\n", timeout=60)
    assert answer.strip() == "LeaseLostError"
    assert follower.communicate("\n", timeout=60)[0].strip() == "released"


def test_store_survives_a_server_outage_of_seconds(s3: Server, url: str, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here", url), Store(tmp_path / "there", url)
    for number in range(20):
        write_bytes(here.trial_folder("a") / "model" / f"{number}.bin", os.urandom(1000))
    with here.lock_folder(here.trial_folder("a")) as hold:
        s3.pause()
        threading.Timer(10, s3.go_on).start()
        began = time.monotonic()
        here.push(here.trial_folder("a"))
        assert time.monotonic() - began > 9
        hold.check_lease()
        here.publish(here.record_path("a"), {"status": "COMPLETE"})
    there.pull(there.trial_folder("a"))
    assert len(list((there.trial_folder("a") / "model").iterdir())) == 20
    assert read_json(there.record_path("a")) == {"status": "COMPLETE"}


def test_pull_results_reads_many_trials_in_few_requests(s3: Server, url: str, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here", url), Store(tmp_path / "there", url)
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


def test_multipart_upload_round_trips(url: str, s3: Server, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here", url), Store(tmp_path / "there", url)
    content = os.urandom(60 << 20)
    write_bytes(here.trial_folder("a") / "model" / "model.safetensors", content)
    here.push(here.trial_folder("a"))
    path = there.trial_folder("a") / "model" / "model.safetensors"
    there.pull(there.trial_folder("a"))
    assert path.read_bytes() == content
    before = len(s3.requests())
    here.push(here.trial_folder("a"))
    there.pull(there.trial_folder("a"))
    assert len(s3.requests()) - before <= 2, "known as the same by size and time"


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


def test_store_uses_a_working_copy_per_server(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Store.from_location("s3://bucket/store").root
    monkeypatch.setattr(remote.RemoteStore, "check_access", lambda self: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert Store.from_location("s3://bucket/store").root != one


def test_memory_constants_leave_headroom() -> None:
    assert lease.RENEW_SECONDS * 3 < lease.EXPIRY_SECONDS < lease.EXPIRY_SECONDS + lease.CLOCK_SKEW_SECONDS
