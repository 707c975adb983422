"""Whatever dies, the study ends complete: finished trials are kept, and the others end as if nothing had been.

Real Ray nodes of this machine, real trials, real kills. What a trial does about memory, SIGTERM and damaged checkpoints
is tested without Ray in tests/trial, a full disk in test_full_disk.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pandas as pd
import pytest
import warm
from watching import saved, until, wait_until

from sweeper import cluster
from sweeper.cluster import LocalCluster
from sweeper.config import find_sweep, load_sweep
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.training import TrialRecord, read_record

pytestmark = [pytest.mark.slow, pytest.mark.ray]
ROOT = Path(__file__).resolve().parents[2]
ASKED = [
    "claims=[]",
    "evaluation=null",
    "axes.model=[opt-tiny-32]",
    "axes.num_train_epochs=[1]",
    "axes.seed=[0, 1, 2, 3]",
    "recipe.warmup_steps=10",
    "data.toolworld={train_queries: 1600, validation_queries: 20, test_queries_per_subset: 1}",
]
STEPS, SAVED_EVERY = 200, 40
"""Of each trial: batches of 8, and five checkpoints."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_sweep(load_sweep(find_sweep("quickstart"), ASKED))


@pytest.fixture(scope="module")
def undisturbed(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same study without Ray."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    warm.sweeper(*command(store.root), "--backend", "inline")
    return store


def command(root: Path) -> list[str]:
    """The words of `sweeper run` for the study."""
    words = ["run", "quickstart", "--storage", str(root), "--tracking", "none"]
    return [*words, *(word for text in ASKED for word in ("--set", text))]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a cluster's state lies; no cluster outlives its test."""
    with tempfile.TemporaryDirectory(prefix="sweeper-") as name:
        path = Path(name) / "cluster"
        yield path
        if (path / "cluster.json").exists():
            cluster.stop_local_cluster(path)


@contextlib.contextmanager
def running(up: LocalCluster, root: Path) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """`sweeper run` on that cluster, and what it says."""
    words = [sys.executable, "-m", "sweeper", *command(root), "--address", up.address]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryFile() as said:
        run = subprocess.Popen(words, env=clean | up.environment, stdout=said, stderr=said, cwd=ROOT)
        try:
            yield run, said
        finally:
            run.kill()
            run.wait()


def ended(run: subprocess.Popen[bytes], said: IO[bytes], seconds: float = 400) -> str:
    """What it said, once it has ended well."""
    code = run.wait(timeout=seconds)
    said.seek(0)
    text = said.read().decode()
    assert code == 0, text
    return text


def trainer_of(up: LocalCluster, store: Store, fingerprint: str) -> int | None:
    """The process that holds a trial's lock."""
    lock = str(store.trial_folder(fingerprint) / ".lock")
    for pid in cluster.list_processes(up):
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) == lock for link in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
    return None


def in_training(plan: Plan, store: Store, but: set[str] = frozenset()) -> str | None:  # type: ignore[assignment]
    """A trial that has a checkpoint, and is not at its end."""
    found = [t.fingerprint for t in plan.trials if t.fingerprint not in but and len(saved(store, t.fingerprint)) > 0]
    return next((f for f in found if saved(store, f)[-1] < STEPS - SAVED_EVERY), None)


def check(plan: Plan, store: Store, undisturbed: Store) -> dict[str, TrialRecord]:
    """Every trial ended as the undisturbed one, to the last digit."""
    records = {}
    for trial in plan.trials:
        record, expected = (read_record(s.record_path(trial.fingerprint)) for s in (store, undisturbed))
        assert record is not None
        assert expected is not None
        assert record.status == "COMPLETE", record.failure
        assert record.applied == expected.applied
        for name in ("val_loss", "train_loss", "steps", "tokens"):
            assert record.metrics[name] == expected.metrics[name]
        histories = [
            pd.read_parquet(s.trial_folder(trial.fingerprint) / "history.parquet") for s in (store, undisturbed)
        ]
        pd.testing.assert_frame_equal(*histories)  # no gap, no step twice
        assert not (store.trial_folder(trial.fingerprint) / "checkpoints").exists() or not saved(
            store, trial.fingerprint
        )
        records[trial.fingerprint] = record
    return records


def test_workers_a_node_and_the_storage_go_away_while_the_study_runs(
    plan: Plan, undisturbed: Store, folder: Path, tmp_path: Path
) -> None:
    store, hit = Store(tmp_path / "store"), set[str]()
    up = cluster.start_local_cluster(3, cpus_per_node=1, folder=folder)

    def next_victim(run: subprocess.Popen[bytes]) -> tuple[str, int]:
        until(lambda: (v := in_training(plan, store, hit)) and trainer_of(up, store, v), run)
        victim = in_training(plan, store, hit)
        assert victim is not None
        hit.add(victim)
        pid = trainer_of(up, store, victim)
        assert pid is not None
        return victim, pid

    with running(up, store.root) as (run, said):
        killed, pid = next_victim(run)
        os.kill(pid, signal.SIGKILL)

        told, pid = next_victim(run)
        os.kill(pid, signal.SIGTERM)
        until(lambda: trainer_of(up, store, told) != pid, run)

        away = tmp_path / "away"
        until(lambda: in_training(plan, store), run)
        store.root.rename(away)
        time.sleep(4)
        shutil.rmtree(store.root, ignore_errors=True)  # what was written in between is gone, as under a mount
        away.rename(store.root)

        until(lambda: in_training(plan, store), run)
        for pid in cluster.list_processes(up, 2):
            os.kill(pid, signal.SIGKILL)
        text = ended(run, said)

    assert text.count("its worker was lost") >= 3
    assert "is missing or empty" in text
    assert "is back: the trials go on" in text
    records = check(plan, store, undisturbed)
    assert records[killed].resumed_from_step is not None
    assert {record.metrics["steps"] for record in records.values()} == {STEPS}
    regular = set(range(0, STEPS + 1, SAVED_EVERY))
    assert records[told].resumed_from_step not in regular | {None}, "saved where SIGTERM found it"


def test_driver_and_then_the_head_die_and_the_same_command_goes_on(
    plan: Plan, undisturbed: Store, folder: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    up = cluster.start_local_cluster(2, cpus_per_node=1, folder=folder)

    def finished() -> set[str]:
        return {trial.fingerprint for trial in plan.trials if store.record_path(trial.fingerprint).exists()}

    with running(up, store.root) as (run, _):
        until(lambda: finished() and in_training(plan, store), run)
        run.send_signal(signal.SIGKILL)
        run.wait()
    kept = {fingerprint: store.record_path(fingerprint).stat().st_mtime_ns for fingerprint in finished()}
    with running(up, store.root) as (run, said):
        until(lambda: b"Ray dashboard" in os.pread(said.fileno(), 1 << 16, 0), run)
        for pid in cluster.list_processes(up, 0):  # the head, and with it what knows the cluster
            os.kill(pid, signal.SIGKILL)
        assert run.wait(timeout=30) == 1
        wait_until(lambda: b"run the same command again" in os.pread(said.fileno(), 1 << 16, 0))
        assert b"ended unexpectedly" in os.pread(said.fileno(), 1 << 16, 0)
    cluster.stop_local_cluster(folder)
    up = cluster.start_local_cluster(2, cpus_per_node=1, folder=folder)
    with running(up, store.root) as (run, said):
        ended(run, said)
    records = check(plan, store, undisturbed)
    assert kept
    for fingerprint, written in kept.items():
        assert store.record_path(fingerprint).stat().st_mtime_ns == written, "a finished trial is not trained again"
    assert any(record.resumed_from_step for record in records.values())
