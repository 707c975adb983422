"""How long until something happens? `sweeper --help`, `sweeper plan`, and `run` until the first trial trains.

    python benchmarks/startup.py [--rounds 3]

Every command is a process of its own. Of `run` (the quickstart, in an empty store, on a Ray of its own) the way to the
first optimiser step is cut up: Python and our imports, the plan, Ray, the data (prepared while Ray starts), the
worker's own imports and its first step. Needs a quiet machine; about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from row import Row, finish, number

SWEEPER = [sys.executable, "-m", "sweeper"]
PLANS = ("quickstart", "scaling", "paper")
"""A small sweep, a shipped one for GPUs, and the largest (these two as they are rehearsed: without ToolBench here)."""
SWEEPS = sorted(path.stem for path in (Path(__file__).resolve().parents[1] / "sweeps").glob("*.yaml"))


def command(words: list[str]) -> float:
    """Seconds of one command."""
    started = time.monotonic()
    subprocess.run([*SWEEPER, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def first_step(began: float, folder: Path) -> dict[str, float]:
    """What `sweeper run quickstart` does, in this process, until a trial has made a step: stage -> time.time()."""
    at = {"start": began}
    from rich.console import Console

    from sweeper.config import find_sweep, load_hardware_specs, load_sweep
    from sweeper.execution.progress import ProgressDisplay
    from sweeper.execution.study_runner import run_study
    from sweeper.planning.estimate import estimate_plan
    from sweeper.planning.planner import plan_sweep
    from sweeper.storage import Store
    from sweeper.training import TrialProgress

    at["Python and our imports"] = time.time()
    store = Store.from_location(str(folder))
    plan = plan_sweep(load_sweep(find_sweep("quickstart")), store)
    plan, _ = estimate_plan(plan, store, load_hardware_specs())
    at["plan"] = time.time()

    class Enough(KeyboardInterrupt):
        """A step was made."""

    class Watching(ProgressDisplay):
        def print_line(self, text: str) -> None:
            at.setdefault("Ray" if text.startswith("Ray dashboard") else "data, beyond that", time.time())

        def on_progress(self, fingerprint: str, progress: TrialProgress) -> None:
            if progress.training is None:
                at.setdefault("a worker, with its place", time.time())
                return
            at.setdefault("the worker's imports, model and first step", time.time())
            raise Enough

    try:
        with Watching(Console(file=io.StringIO())) as display:
            run_study(plan, store, backend="ray", address=None, tracking="none", display=display)
    except Enough:
        return at
    raise AssertionError("it ended without a step")


def main() -> int:
    """Measure, print the table of stages and the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--until-first-step", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.until_first_step:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(first_step(asked.until_first_step, Path(folder))))
        return 0
    rows = [Row("sweeper --help", "s", [command(["--help"]) for _ in range(asked.rounds)], aim="<= 1")]
    with tempfile.TemporaryDirectory() as store:
        words = {name: ["plan", name, "--storage", store, "--smoke-test"] for name in SWEEPS}
        words["quickstart"].remove("--smoke-test")
        once = {name: command(words[name]) for name in SWEEPS if name not in PLANS}
        for name in (*PLANS, max(once, key=lambda name: once[name])):
            seconds = [command(words[name]) for _ in range(asked.rounds)]
            shown = f"sweeper {' '.join(words[name][:2] + words[name][4:])}"
            slowest = "" if name in PLANS else f", the slowest of {len(once)} more"
            rows.append(Row(f"{shown}{slowest}", "s", seconds, aim="<= 3"))
    stages: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        here = [sys.executable, __file__, "--until-first-step", str(time.time())]
        at = json.loads(subprocess.run(here, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        moments = sorted(at.items(), key=lambda pair: pair[1])
        for (_, before), (stage, after) in itertools.pairwise(moments):
            stages.setdefault(stage, []).append(after - before)
        stages.setdefault("all", []).append(moments[-1][1] - moments[0][1])
    whole = stages.pop("all")
    for stage, seconds in stages.items():
        print(f"  {stage}: {number(statistics.median(seconds))} s")
    rows.append(Row("sweeper run quickstart, until the first step of a trial", "s", whole, aim="<= 25"))
    return finish(rows, stages=stages)


if __name__ == "__main__":
    sys.exit(main())
