"""The workers of one trial as processes forked from one with the imports behind it, in place of torchrun's.

Two workers under torchrun import torch, TRL and DeepSpeed for some 15 CPU-seconds before they train for one. Tests of
what workers do use these; tests of how workers are started and lost use torchrun.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from sweeper.storage import Store, write_json
from sweeper.training import TrialJob, WorkerLauncher
from sweeper.training.torchrun import WorkerJob

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sweeper.training.sft_trainer", "sweeper.training.torchrun", "deepspeed"])


def make_forked_launcher(job: TrialJob, store: Store) -> WorkerLauncher:
    """A launcher like `make_torchrun_launcher`, with a job file of the same kind."""

    def launch(at_most: int | None, generation: int | None) -> None:
        worker_job = WorkerJob(
            spec=job.spec,
            fingerprint=job.fingerprint,
            data=job.data_fingerprint,
            at_most=at_most,
            generation=generation,
            storage=store.location,
            marked=store.is_marked,
        )
        count = job.spec.runtime.workers
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with TemporaryDirectory() as folder:
            write_json(Path(folder) / "job.json", worker_job.model_dump(mode="json"))
            workers = [_CONTEXT.Process(target=_work, args=(folder, rank, count, port)) for rank in range(count)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            failures = [json.loads(path.read_text()) for path in Path(folder).glob("failure-*.json")]
        assert [worker.exitcode for worker in workers] == [0] * len(workers), failures

    return launch


def _work(folder: str, rank: int, workers: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    from sweeper.training.torchrun import run_worker

    raise SystemExit(run_worker(Path(folder) / "job.json"))
