"""Leases: one holder at a time, among threads and among processes that race, die and freeze."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machines import Machines

from sweeper.storage import LeaseLostError, LockHeldError, lease

pytestmark = pytest.mark.usefixtures("quick_retries")


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
def start(s3_url: str, tmp_path: Path) -> Iterator[Start]:
    """Processes that want the lock of one trial, each with a working copy of its own, as on a machine of its own."""
    started: list[subprocess.Popen[str]] = []

    def run(patience: str = "refuse", where: str = "here") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path / f"machine-{len(started)}"), s3_url, patience, where]
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


@pytest.mark.slow
def test_lease_is_held_by_one_of_several_processes(start: Start) -> None:
    processes = [start() for _ in range(5)]
    told = {process.pid: says(process) for process in processes}
    assert sorted(told.values()) == ["held"] + ["refused"] * 4
    (holder,) = (process for process in processes if told[process.pid] == "held")
    waiting = start("wait")
    holder.communicate("\n", timeout=60)
    assert says(waiting) == "held"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.slow
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


@pytest.mark.slow
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


def test_lease_times_leave_headroom() -> None:
    assert lease.RENEW_SECONDS * 3 < lease.EXPIRY_SECONDS < lease.EXPIRY_SECONDS + lease.CLOCK_SKEW_SECONDS
