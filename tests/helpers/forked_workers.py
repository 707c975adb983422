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

from sweeper.config import TrialSpec
from sweeper.storage import Store, write_json
from sweeper.training.trial import WorkerLauncher

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sweeper.training.sft_trainer", "sweeper.training.torchrun_worker", "deepspeed"])


def launch_forked(spec: TrialSpec, fingerprint: str, data_fingerprint: str, store: Store) -> WorkerLauncher:
    """Start the trial's workers as `launch_torchrun` does, with a job of the same kind, and wait for them."""

    def launch(at_most: int | None, generation: int | None) -> None:
        job = {"spec": spec.model_dump(mode="json"), "fingerprint": fingerprint, "data": data_fingerprint}
        job |= {"at_most": at_most, "generation": generation, "storage": store.location, "marked": store.is_marked}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with TemporaryDirectory() as folder:
            write_json(Path(folder) / "job.json", job)
            workers = [
                _CONTEXT.Process(target=_work, args=(folder, rank, spec.runtime.workers, port))
                for rank in range(spec.runtime.workers)
            ]
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
    from sweeper.training.torchrun_worker import run_worker

    raise SystemExit(run_worker(Path(folder) / "job.json"))
