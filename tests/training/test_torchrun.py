"""Workers as processes under PyTorch's launcher."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from tiny_engines import make_engine_spec, train_with_engine
from tiny_trial import ignore_progress

from sweeper import data
from sweeper.config import Rungs
from sweeper.errors import LostWorkerError
from sweeper.execution.ray_backend import train as on_ray
from sweeper.storage import Store, lease, read_json, write_json
from sweeper.training import Pruner, TrainingProgress, TrialJob, WorkerFailedError, torchrun, train_trial
from sweeper.training.torchrun import WorkerJob, make_torchrun_launcher


@pytest.mark.slow
def test_killed_worker_is_a_lost_worker_and_the_trial_resumes(
    single_worker_run: Any, store_with_data: tuple[Path, data.PreparedData]
) -> None:
    root, prepared = store_with_data
    shutil.rmtree(root / "trials", ignore_errors=True)
    spec, store = make_engine_spec("zero2", 2), Store(root)

    def kill(progress: TrainingProgress) -> None:
        if progress.step == 6:
            children = psutil.Process().children(recursive=True)
            launched = [process for process in children if "sweeper.training.torchrun" in process.cmdline()]
            workers = [process for process in launched if "torch.distributed.run" not in process.cmdline()]
            workers[-1].kill()

    launch = make_torchrun_launcher(TrialJob(spec, "f", prepared.fingerprint), store, kill)
    with pytest.raises(LostWorkerError, match="died"):
        train_trial(TrialJob(spec, "f", prepared.fingerprint), lambda: prepared, store, lambda progress: None, launch)
    assert not store.record_path("f").exists()
    record, history = train_with_engine(root, prepared, spec)
    assert record.resumed_from_step is not None
    assert record.resumed_from_step >= 4
    np.testing.assert_allclose(history.to_numpy(float), single_worker_run[1].to_numpy(float), rtol=2e-4)


@pytest.mark.parametrize("launcher", ["torchrun", "ray"])
def test_workers_publish_nothing_after_their_launcher_lost_its_lease(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher holds the lock of its trial; each worker checks the lock's generation."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.1)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)

    def train(*_: Any, check_lease: Any, **rest: Any) -> None:
        check_lease()

    for module in (torchrun, on_ray):
        monkeypatch.setattr(module, "train_worker", train)
        monkeypatch.setattr(module.data, "open_prepared_data", lambda store, identity: None)
    store, spec = Store.from_location("memory://launchers/store"), make_engine_spec("ddp", 2)

    def work(generation: int | None) -> str:
        """Return the failure of one worker; empty without one."""
        if launcher == "ray":
            planned: Any = SimpleNamespace(spec=spec, fingerprint=launcher, data_fingerprint="d")
            try:
                on_ray._make_worker(planned, store, None, None, generation, None)()
            except WorkerFailedError as error:
                return f"{error.failure.kind}: {error.failure.message}"
            return ""
        job = tmp_path / "job.json"
        document = {"spec": spec.model_dump(mode="json"), "fingerprint": launcher, "data": "d", "at_most": None}
        write_json(job, document | {"storage": store.location, "marked": store.is_marked, "generation": generation})
        if torchrun.run_worker(job) == 0:
            return ""
        failure = read_json(tmp_path / "failure-0.json")
        return f"{failure['kind']}: {failure['message']}"

    with store.lock_folder(store.trial_folder(launcher)) as lock:
        assert work(lock.generation) == ""
        elsewhere = Store(tmp_path / "elsewhere", store.url)
        with elsewhere.lock_folder(elsewhere.trial_folder(launcher)) as other:
            assert work(other.generation) == ""
            assert "lost-worker" in work(lock.generation)
            assert "took it over" in work(lock.generation)


def make_worker_job(store: Store, **fields: Any) -> WorkerJob:
    values = {"spec": make_engine_spec("ddp", 2), "fingerprint": "f", "data": "d", "at_most": 4, "generation": 7}
    return WorkerJob(**values | {"storage": store.location, "marked": store.is_marked} | fields)


@pytest.mark.parametrize("search", [{}, {"rungs": Rungs(first=5), "scheduler": "asha"}])
def test_worker_job_is_the_same_after_its_file_is_read(tmp_path: Path, search: dict[str, Any]) -> None:
    store = Store(tmp_path / "store")
    job = make_worker_job(store, **search)
    write_json(tmp_path / "job.json", job.model_dump(mode="json"))
    restored = WorkerJob.model_validate(read_json(tmp_path / "job.json"))
    assert restored == job
    assert restored.trial == TrialJob(job.spec, "f", "d")
    assert restored.open_store().location == store.location


def test_worker_job_without_a_search_has_no_pruner(tmp_path: Path) -> None:
    job = make_worker_job(Store(tmp_path))
    assert job.make_pruner(tmp_path / "job.json") is None


@pytest.mark.parametrize("stop", [False, True])
def test_worker_receives_the_pruning_decision_of_its_launcher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stop: bool
) -> None:
    """The worker prints a request, and the launcher writes the decision to a file beside the job."""
    path = tmp_path / "job.json"
    requests: list[tuple[int, float]] = []

    def decide(resource: int, loss: float) -> bool:
        requests.append((resource, loss))
        return stop

    decisions: list[bool] = []
    pruner = make_worker_job(Store(tmp_path), rungs=Rungs(first=5), scheduler="asha").make_pruner(path)
    assert pruner is not None
    worker = threading.Thread(target=lambda: decisions.append(pruner.should_prune(5, 0.75)))
    worker.start()
    lines, deadline = "", time.monotonic() + 60
    while not lines.endswith("\n") and time.monotonic() < deadline:
        lines += capsys.readouterr().out
    torchrun._relay_lines(lines.splitlines(), path, ignore_progress, Pruner(Rungs(first=5), "asha", decide))
    worker.join(60)
    assert (requests, decisions) == ([(5, 0.75)], [stop])


def test_relay_lines_restores_progress_and_ignores_other_output(tmp_path: Path) -> None:
    report = TrainingProgress(3, 9, loss=1.5)
    lines = ["a warning", torchrun.PROGRESS_PREFIX + json.dumps(report.to_document()), ""]
    reports: list[TrainingProgress] = []
    torchrun._relay_lines(lines, tmp_path / "job.json", reports.append, None)
    assert reports == [report]
