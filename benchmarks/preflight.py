"""Is planning quick, and is what it predicts true?

    python benchmarks/preflight.py plan [--trials 10000]          # seconds and peak memory of `sweeper plan`
    python benchmarks/preflight.py actual [--sweep scaling]       # predicted against actual wall time

`plan` runs the command in a process of its own, on a generated sweep (3 sizes x 5 epochs x learning rates x clips x 10
seeds): into an empty store, and into one where every trial has a record, so that all of them are read. The aim is 10 s
and 1 GB.

`actual` runs the sweep's calibrating seeds in an empty store (`--smoke-test` where the sweep is one for GPUs), predicts
other seeds from their records, runs those and compares. The aim is a wall time within 30 % of the predicted one. It
takes as long as the two runs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from row import Row, finish

SWEEPER = Path(sys.executable).with_name("sweeper")
ARMS, SEEDS = 3 * 5, 10


def generated(trials: int) -> list[str]:
    """Overrides of the quickstart for about so many trials, with at most a hundred learning rates."""
    cells = max(1, math.ceil(trials / (ARMS * SEEDS)))
    clips = max(1, math.ceil(cells / 100))
    rates = math.ceil(cells / clips)
    axes = {
        "num_train_epochs": [1, 2, 3, 4, 5],
        "learning_rate": [round(1e-3 * (1 + i / 10), 6) for i in range(rates)],
        "max_grad_norm": [round(0.1 * (1 + i), 2) for i in range(clips)],
        "seed": list(range(SEEDS)),
    }
    return [f"--set=axes.{axis}={values}" for axis, values in axes.items()] + ["--set=claims=[]"]


def measured(arguments: list[str]) -> tuple[dict[str, float], str]:
    """(wall and CPU seconds, peak MB of the largest child so far; standard output) of one `sweeper` command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run([SWEEPER, *arguments], check=True, capture_output=True, text=True)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": after.ru_maxrss * 1024 / 1e6}, done.stdout


def fill(store: Path, planned: dict[str, Any]) -> None:
    """A record for each trial, as if it had been trained in the predicted time."""
    for row in planned["trials"]:
        folder = store / "trials" / row["fingerprint"]
        folder.mkdir(parents=True)
        metrics = {
            "steps": row["planned_steps"] or 300.0,
            "train_flops": 1e11,
            "train_seconds": row["predicted_seconds"],
        }
        record = {key: row[key] for key in ("fingerprint", "model", "parameters")}
        record |= {"status": "COMPLETE", "metrics": metrics, "environment": {"device": "cpu"}}
        (folder / "record.json").write_text(json.dumps(record))
        recipe = {"precision": row["precision"], "gradient_checkpointing": row["gradient_checkpointing"]}
        (folder / "spec.json").write_text(json.dumps({"runtime": {"cpus": 1, "gpus": 0}, "recipe": recipe}))


def plan(trials: int) -> list[dict[str, Any]]:
    """Planning for people and as JSON, in an empty store and in a full one."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        for full in (False, True):
            for form in ([], ["--json"]):
                asked = ["plan", "quickstart", *generated(trials), "--storage", folder, *form]
                found, text = measured(asked)
                rows.append({"records": full, "json": bool(form), **found})
            if not full:
                fill(store, planned := json.loads(text))
                count = len(planned["trials"])
    return [row | {"trials": count} for row in rows]


def actual(sweep: str, backend: str, calibrate: str, predict: str) -> dict[str, Any]:
    """Calibrate on some seeds, predict and run others."""
    with tempfile.TemporaryDirectory() as folder:
        rehearsed = [] if sweep in ("quickstart", "size-three-ways") else ["--smoke-test"]
        common = [sweep, *rehearsed, "--storage", folder, "--set", "claims=[]"]
        run = ["run", *common, "--backend", backend, "--tracking", "none"]
        before = json.loads(measured(["plan", *common, "--set", f"axes.seed={predict}", "--json"])[1])
        calibrating = measured([*run, "--set", f"axes.seed={calibrate}", "--set", "name=calibrating"])[0]["seconds"]
        others = ["--set", f"axes.seed={predict}", "--set", "name=predicted"]
        planned = json.loads(measured(["plan", *common, *others, "--json"])[1])
        seconds = measured([*run, *others])[0]["seconds"]
        predicted = planned["wall_hours"] * 3600
        return {
            "sweep": sweep,
            "backend": backend,
            "trials": len(planned["trials"]),
            "calibrating_seconds": calibrating,
            "taken_seconds": before["wall_hours"] * 3600,
            "predicted_seconds": predicted,
            "range_seconds": [3600 * hours for hours in planned["wall_hours_range"]],
            "actual_seconds": seconds,
            "error": seconds / predicted - 1,
            "rests_on": planned["rests_on"],
            "cpus": os.cpu_count(),
        }


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    planning = what.add_parser("plan")
    planning.add_argument("--trials", type=int, default=10_000)
    running = what.add_parser("actual")
    running.add_argument("--sweep", default="scaling")
    running.add_argument("--backend", default="ray", choices=("ray", "inline"))
    running.add_argument("--calibrate", default="[0]", help="Seeds that calibrate.")
    running.add_argument("--predict", default="[1,2]", help="Seeds that are predicted.")
    asked = parser.parse_args()
    if asked.what == "plan":
        rows = plan(asked.trials)
        found = []
        for row in rows:
            what = f"plan of {row['trials']:,} trials, {'each with a record' if row['records'] else 'an empty store'}"
            what += ", as JSON" if row["json"] else ""
            found.append(Row(what, "s", [row["seconds"]], aim="<= 10"))
            found.append(Row(f"{what}: peak memory so far", "MB", [row["peak_mb"]], aim="<= 1000"))
        return finish(found)
    found = actual(asked.sweep, asked.backend, asked.calibrate, asked.predict)
    off = abs(found["error"])
    what = f"{asked.sweep}, rehearsed: wall time against the predicted {found['predicted_seconds']:.0f} s"
    return finish([Row(what, "of it off", [off], aim="<= 0.3")], **found)


if __name__ == "__main__":
    sys.exit(main())
