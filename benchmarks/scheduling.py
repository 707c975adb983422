"""What does scheduling cost? Trials that do nothing, through our admission, and through Ray Tune alone.

    python benchmarks/scheduling.py [--trials 500] [--pairs 3]

Each run is a process of its own with a Ray of its own; counted is from the first trial handed out to the end, Ray's own
start and end left out. Medians of the pairs. Needs a quiet machine; about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from row import Row, finish

AIM = "<= 1.2"
MOST_BY_DEFAULT = 20
WAYS = ("ours", "Ray Tune, reused actors", "Ray Tune, defaults")


def nothing(trial: Any, store: Any, tracker: Any, tell: Any, nodes: Any, pruner: Any) -> dict[str, Any]:
    """A trial's row, at once."""
    return {"fingerprint": trial.fingerprint, "status": "COMPLETE", "metrics": {}, "failure": None}


def ours(trials: int) -> float:
    """Seconds of a study of so many."""
    from ray import cloudpickle
    from rich.console import Console

    from sweeper.config import find_sweep, load_sweep
    from sweeper.execution.backends.ray import open_backend
    from sweeper.execution.progress import ProgressDisplay
    from sweeper.execution.ray_backend.tune import run_trials_on_ray
    from sweeper.execution.run_context import RunContext
    from sweeper.execution.trial_source import FixedTrials
    from sweeper.planning.planner import plan_sweep
    from sweeper.storage import Store

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    asked = ["claims=[]", "axes.model=[opt-tiny-32]", "axes.num_train_epochs=[1]", f"axes.seed={list(range(trials))}"]
    plan = plan_sweep(load_sweep(find_sweep("quickstart"), asked))
    with (
        tempfile.TemporaryDirectory() as folder,
        ProgressDisplay(Console(file=io.StringIO())) as display,
        open_backend(None, display),
    ):
        store = Store(Path(folder))
        display.start_study(plan, list(plan.trials), store)
        started = time.monotonic()
        store.study_folder(plan.sweep.name).mkdir(parents=True)
        run = RunContext.start(plan, store, "none", display)
        run_trials_on_ray(FixedTrials(plan.trials, run.budget_tracker), run, nothing)
        return time.monotonic() - started


def plain(trials: int, reuse: bool) -> float:
    """Seconds of Ray Tune alone."""
    import ray
    from ray import tune

    ray.init(include_dashboard=True, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(lambda config: tune.report({"done_with": config["i"]}), {"CPU": 1}),
            param_space={"i": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=reuse),
            run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0),
        )
        started = time.monotonic()
        tuner.fit()
        seconds = time.monotonic() - started
    ray.shutdown()
    return seconds


def measured(way: str, trials: int) -> float:
    """Seconds per trial, in a process of its own. Tune's defaults start a process for each: fewer say enough."""
    trials = min(trials, MOST_BY_DEFAULT) if way == WAYS[2] else trials
    environment = os.environ | {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    command = [sys.executable, __file__, "--way", way, "--trials", str(trials)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(done.stdout.splitlines()[-1]) / trials


def main() -> int:
    """Measure in turn, print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--way")
    asked = parser.parse_args()
    if asked.way:
        print(ours(asked.trials) if asked.way == WAYS[0] else plain(asked.trials, asked.way == WAYS[1]))
        return 0
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(asked.pairs):
        for way in WAYS:
            found[way].append(measured(way, asked.trials))
            print(f"  {way}: {found[way][-1]:.3f} s a trial", flush=True)
    what, mine = f"a study of {asked.trials} trials that do nothing", found[WAYS[0]]
    return finish(
        [
            Row(what, "s a trial", mine, WAYS[1], found[WAYS[1]], aim=AIM),
            Row(what, "s a trial", mine, f"{WAYS[2]} ({min(asked.trials, MOST_BY_DEFAULT)} trials)", found[WAYS[2]]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
