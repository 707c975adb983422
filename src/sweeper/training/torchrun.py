"""Several workers of one trial as processes of this machine, through PyTorch's own launcher. Ray has another way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sweeper.config import TrialSpec
from sweeper.storage import Store, read_json, write_json
from sweeper.training.progress import ProgressListener, TrainingProgress
from sweeper.training.pruning import Pruner
from sweeper.training.record import Failure, error_from_failures
from sweeper.training.trial import WorkerLauncher

PROGRESS_PREFIX = "sweeper-progress "
"""Begins the lines by which the first worker tells its progress."""
RUNG_PREFIX = "sweeper-rung "
"""Begins the lines by which it asks whether to go on; the answer is a file beside the job."""


def get_answer_path(job: Path, resource: int) -> Path:
    """Where the answer for a rung is written."""
    return job.with_name(f"rung-{resource}.json")


def launch_torchrun(
    spec: TrialSpec,
    fingerprint: str,
    data_fingerprint: str,
    store: Store,
    on_progress: ProgressListener,
    pruner: Pruner | None = None,
) -> WorkerLauncher:
    """Starts the trial's workers with `torch.distributed.run` and waits for them. `data`: fingerprint of the tokens."""

    def launch(at_most: int | None, generation: int | None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            job = Path(folder) / "job.json"
            asked: dict[str, Any] = {
                "spec": spec.model_dump(mode="json"),
                "fingerprint": fingerprint,
                "data": data_fingerprint,
            }
            if pruner:
                asked |= {"rungs": pruner.rungs.model_dump(), "scheduler": pruner.scheduler}
            asked |= {"at_most": at_most, "generation": generation}
            write_json(job, asked | {"storage": store.location, "marked": store.is_marked})
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            command += [f"--nproc-per-node={spec.runtime.workers}", "-m", "sweeper.training.torchrun_worker", str(job)]
            environment = os.environ | {"OMP_NUM_THREADS": str(max(1, int(spec.runtime.cpus)))}
            log = Path(folder) / "log"
            with log.open("wb") as errors:
                workers = subprocess.Popen(  # noqa: S603 # our own words
                    command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True
                )
                try:
                    for line in workers.stdout or ():
                        if line.startswith(PROGRESS_PREFIX):
                            progress = json.loads(line.removeprefix(PROGRESS_PREFIX))
                            on_progress(TrainingProgress.from_document(progress))
                        elif line.startswith(RUNG_PREFIX) and pruner:
                            rung = json.loads(line.removeprefix(RUNG_PREFIX))
                            stop = pruner.should_prune(rung["resource"], rung["loss"])
                            write_json(get_answer_path(job, rung["resource"]), {"stop": stop})
                    code = workers.wait()
                except BaseException:
                    workers.terminate()
                    workers.wait()
                    raise
            if code:
                said = [Failure.model_validate(read_json(path)) for path in sorted(Path(folder).glob("failure-*.json"))]
                raise error_from_failures(said, fingerprint, log.read_text(errors="replace")[-2000:])

    return launch
