"""Workers as processes under PyTorch's launcher."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from tiny_engines import make_engine_spec, train_with_engine

from sweeper import data
from sweeper.errors import LostWorkerError
from sweeper.execution.ray_backend import train as on_ray
from sweeper.storage import Store, lease, read_json, write_json
from sweeper.training import TrainingProgress, TrialJob, WorkerFailedError, torchrun, train_trial
from sweeper.training.torchrun import make_torchrun_launcher


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
