"""What does orchestration cost? The quickstart through Ray against the same trials in a plain loop.

    python benchmarks/overhead.py [--set KEY=VALUE]...

Prints wall time of `sweeper run` over (sum of training and evaluation time of the same trials, run one after the other
in one warm process, divided by the number run at once). Needs a quiet machine; about ten minutes on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweeper import data
from sweeper.spec import find_sweep, load_sweep
from sweeper.store import Store
from sweeper.study import plan_sweep
from sweeper.study.stage import run_trial
from sweeper.tracking import Tracker


def plain_loop(overrides: list[str], folder: Path) -> float:
    """Seconds of training and evaluation, one trial after the other here, imports and data paid before."""
    sweep = load_sweep(find_sweep("quickstart"), overrides)
    plan, store = plan_sweep(sweep), Store.at(folder)
    for model in sweep.models.values():
        data.prepare(sweep.data, model, store.root)
    import trl  # noqa: F401  (the loop is bare: its imports are not counted)

    tracker, started = Tracker("none", sweep.name, store), time.monotonic()
    for trial in plan.trials:
        row = run_trial(trial, sweep.evaluation, store, tracker, lambda progress: None)
        print(f"  plain {trial.spec.model.name} {row['status']} {time.monotonic() - started:.0f} s", flush=True)
    return time.monotonic() - started


def through_ray(overrides: list[str], folder: Path) -> float:
    """Seconds of `sweeper run quickstart`, from start of the process to its end."""
    started = time.monotonic()
    sets = [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "sweeper.cli", "run", "quickstart", "--storage", str(folder), "--tracking", "none"]
    subprocess.run([*command, *sets], check=True)
    return time.monotonic() - started


def main() -> None:
    """Run both, print the ratio as a table and as JSON."""
    overrides = [sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "--set"]
    concurrency = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        ray = through_ray(overrides, Path(folder) / "ray")
        bare = plain_loop(overrides, Path(folder) / "plain")
    ratio = ray / (bare / concurrency)
    print(
        f"sweeper run {ray:.0f} s; bare trials {bare:.0f} s, {concurrency} at once; ratio {ratio:.2f} (aim below 1.25)"
    )
    print(json.dumps({"run_seconds": ray, "bare_seconds": bare, "concurrency": concurrency, "ratio": ratio}))


if __name__ == "__main__":
    main()
