"""`python -m sweeper.trial.worker JOB.json` under torchrun: one worker of a several-worker trial."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from sweeper import data
from sweeper.spec import TrialSpec
from sweeper.store import Store, read_json, write_json
from sweeper.trial.launch import PROGRESS
from sweeper.trial.record import failure_of
from sweeper.trial.train import train_worker


def main(job: Path) -> int:
    """Train; a failure goes into `failure-<rank>.json` beside the job. Returns the exit code."""
    asked, rank = read_json(job), int(os.environ["RANK"])
    store = replace(Store.at(asked["storage"]), marked=asked["marked"])

    def tell(progress: dict[str, float]) -> None:
        if rank == 0:
            print(PROGRESS + json.dumps(progress), flush=True)

    try:
        prepared = data.open_prepared(store, asked["data"])
        spec = TrialSpec.model_validate(asked["spec"])
        train_worker(spec, asked["fingerprint"], prepared, store, tell, asked["at_most"])
    except Exception as error:
        write_json(job.with_name(f"failure-{rank}.json"), failure_of(error).model_dump())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
