"""The workers of one trial as processes of this machine, started by PyTorch's own launcher.

`python -m sweeper.training.torchrun JOB.json` is one worker, under `torch.distributed.run`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sweeper import data
from sweeper.config import Rungs, TrialSpec
from sweeper.storage import Store, read_json, write_json
from sweeper.training.failures import Failure, classify_failure, make_error
from sweeper.training.job import TrialJob
from sweeper.training.progress import ProgressListener, TrainingProgress
from sweeper.training.pruning import Pruner
from sweeper.training.trial import WorkerLauncher
from sweeper.training.worker import train_worker

PROGRESS_PREFIX = "sweeper-progress "
"""Begins the lines with which the first worker reports its progress."""
RUNG_PREFIX = "sweeper-rung "
"""Begins the lines with which it requests a pruning decision; the answer is a file beside the job."""


class WorkerJob(BaseModel):
    """Content of the job file: what one worker trains, and under which lease."""

    model_config = ConfigDict(frozen=True)

    spec: TrialSpec
    """The trial."""
    fingerprint: str
    """Its identity."""
    data: str
    """Fingerprint of its prepared data."""
    rungs: Rungs | None = None
    """Where a search may stop it early."""
    scheduler: str | None = None
    """The scheduler of that search."""
    at_most: int | None
    """Bound on the micro-batch, after running out of memory."""
    generation: int | None
    """Generation of the lease that the launcher holds on the trial."""
    storage: str
    """Location of the store."""
    marked: bool
    """Whether the store's folder is marked as one."""

    @property
    def trial(self) -> TrialJob:
        """The trial, its identity and that of its data."""
        return TrialJob(self.spec, self.fingerprint, self.data)

    def open_store(self) -> Store:
        """Open the store that the launcher uses."""
        return replace(Store.from_location(self.storage), is_marked=self.marked)

    def make_pruner(self, path: Path) -> Pruner | None:
        """Make a pruner that requests its decisions from the launcher; None without a search."""
        if self.rungs is None or self.scheduler is None:
            return None
        return Pruner(self.rungs, self.scheduler, partial(_request_decision, path))


def make_torchrun_launcher(
    job: TrialJob, store: Store, on_progress: ProgressListener, pruner: Pruner | None = None
) -> WorkerLauncher:
    """Return a launcher that starts a trial's workers with `torch.distributed.run` and waits for them."""

    def launch(max_micro_batch: int | None, generation: int | None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.json"
            worker_job = WorkerJob(
                spec=job.spec,
                fingerprint=job.fingerprint,
                data=job.data_fingerprint,
                rungs=pruner.rungs if pruner else None,
                scheduler=pruner.scheduler if pruner else None,
                at_most=max_micro_batch,
                generation=generation,
                storage=store.location,
                marked=store.is_marked,
            )
            write_json(path, worker_job.model_dump(mode="json"))
            log = Path(folder) / "log"
            code = _run_workers(worker_job, path, log, on_progress, pruner)
            if code:
                failures = [Failure.model_validate(read_json(file)) for file in sorted(path.parent.glob("failure-*"))]
                raise make_error(failures, job.fingerprint, log.read_text(errors="replace")[-2000:])

    return launch


def _run_workers(job: WorkerJob, path: Path, log: Path, on_progress: ProgressListener, pruner: Pruner | None) -> int:
    """Run the workers to their end, relaying progress and pruning decisions. Return the exit code."""
    runtime = job.spec.runtime
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={runtime.workers}", "-m", "sweeper.training.torchrun", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, int(runtime.cpus)))}
    with log.open("wb") as errors:
        workers = subprocess.Popen(  # noqa: S603 # our own command
            command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True
        )
        try:
            _relay_lines(workers.stdout or (), path, on_progress, pruner)
            return workers.wait()
        except BaseException:
            workers.terminate()
            workers.wait()
            raise


def _relay_lines(lines: Iterable[str], path: Path, on_progress: ProgressListener, pruner: Pruner | None) -> None:
    for line in lines:
        if line.startswith(PROGRESS_PREFIX):
            on_progress(TrainingProgress.from_document(json.loads(line.removeprefix(PROGRESS_PREFIX))))
        elif line.startswith(RUNG_PREFIX) and pruner:
            rung = json.loads(line.removeprefix(RUNG_PREFIX))
            stop = pruner.should_prune(rung["resource"], rung["loss"])
            write_json(_get_answer_path(path, rung["resource"]), {"stop": stop})


def run_worker(path: Path) -> int:
    """Train one worker's part of the job file at `path`.

    Returns:
        The exit code. A failure is written to `failure-<rank>.json` beside the job file.
    """
    job, rank = WorkerJob.model_validate(read_json(path)), int(os.environ["RANK"])

    def report(progress: TrainingProgress) -> None:
        if rank == 0:
            print(PROGRESS_PREFIX + json.dumps(progress.to_document()), flush=True)

    try:
        store = job.open_store()
        train_worker(
            job.trial,
            data.open_prepared_data(store, job.data),
            store,
            report,
            max_micro_batch=job.at_most,
            check_lease=partial(store.check_folder_lease, store.trial_folder(job.fingerprint), job.generation),
            pruner=job.make_pruner(path),
        )
    except Exception as error:
        write_json(path.with_name(f"failure-{rank}.json"), classify_failure(error).model_dump())
        return 1
    return 0


def _request_decision(path: Path, resource: int, loss: float) -> bool:
    """Request a pruning decision from the launcher, which reads the printed line and writes the answer to a file."""
    print(RUNG_PREFIX + json.dumps({"resource": resource, "loss": loss}), flush=True)
    answer = _get_answer_path(path, resource)
    while not answer.exists():
        time.sleep(0.05)
    return bool(read_json(answer)["stop"])


def _get_answer_path(path: Path, resource: int) -> Path:
    """Return the file with the decision for a rung."""
    return path.with_name(f"rung-{resource}.json")


if __name__ == "__main__":
    sys.exit(run_worker(Path(sys.argv[1])))
