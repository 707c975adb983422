"""`python -m sweeper.trial.worker JOB.json` under torchrun: one worker of a several-worker trial."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from sweeper import data
from sweeper.spec import Rungs, TrialSpec
from sweeper.store import Store, read_json, write_json
from sweeper.trial.launch import PROGRESS, RUNG, answer_path
from sweeper.trial.record import failure_of
from sweeper.trial.rungs import Pruner
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
        pruner = None
        if "rungs" in asked:
            pruner = Pruner(Rungs.model_validate(asked["rungs"]), asked["scheduler"], partial(_ask, job))
        fingerprint, at_most, generation = asked["fingerprint"], asked["at_most"], asked["generation"]
        may = partial(store.check_held, store.trial(fingerprint), generation)
        train_worker(spec, fingerprint, prepared, store, tell, at_most, may, pruner)
    except Exception as error:
        write_json(job.with_name(f"failure-{rank}.json"), failure_of(error).model_dump())
        return 1
    return 0


def _ask(job: Path, resource: int, loss: float) -> bool:
    """The launcher's answer: it reads our lines, and writes a file whole."""
    print(RUNG + json.dumps({"resource": resource, "loss": loss}), flush=True)
    path = answer_path(job, resource)
    while not path.exists():
        time.sleep(0.05)
    return bool(read_json(path)["stop"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
