"""`python -m sweeper.training.torchrun_worker JOB.json` under torchrun: one worker of a several-worker trial."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from sweeper import data
from sweeper.config import Rungs, TrialSpec
from sweeper.storage import Store, read_json, write_json
from sweeper.training.progress import TrainingProgress
from sweeper.training.pruning import Pruner
from sweeper.training.record import classify_failure
from sweeper.training.torchrun import PROGRESS_PREFIX, RUNG_PREFIX, get_answer_path
from sweeper.training.worker import train_worker


def run_worker(job: Path) -> int:
    """Train; a failure goes into `failure-<rank>.json` beside the job. Returns the exit code."""
    asked, rank = read_json(job), int(os.environ["RANK"])
    store = replace(Store.from_location(asked["storage"]), is_marked=asked["marked"])

    def tell(progress: TrainingProgress) -> None:
        if rank == 0:
            print(PROGRESS_PREFIX + json.dumps(progress.to_document()), flush=True)

    try:
        prepared = data.open_prepared_data(store, asked["data"])
        spec = TrialSpec.model_validate(asked["spec"])
        pruner = None
        if "rungs" in asked:
            pruner = Pruner(Rungs.model_validate(asked["rungs"]), asked["scheduler"], partial(_request_decision, job))
        fingerprint, at_most, generation = asked["fingerprint"], asked["at_most"], asked["generation"]
        may = partial(store.check_folder_lease, store.trial_folder(fingerprint), generation)
        train_worker(spec, fingerprint, prepared, store, tell, at_most, may, pruner)
    except Exception as error:
        write_json(job.with_name(f"failure-{rank}.json"), classify_failure(error).model_dump())
        return 1
    return 0


def _request_decision(job: Path, resource: int, loss: float) -> bool:
    """The launcher's answer: it reads our lines, and writes a file whole."""
    print(RUNG_PREFIX + json.dumps({"resource": resource, "loss": loss}), flush=True)
    path = get_answer_path(job, resource)
    while not path.exists():
        time.sleep(0.05)
    return bool(read_json(path)["stop"])


if __name__ == "__main__":
    sys.exit(run_worker(Path(sys.argv[1])))
