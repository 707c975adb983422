"""What does orchestration cost? The quickstart through `sweeper run`, and the same trials as a user would run them.

    python benchmarks/overhead.py [--pairs 2] [--set KEY=VALUE]...

Beside ours: plain loops in warm processes, one for each core, that share the trials (the least there is), and the
pattern that Ray documents for training under Tune, a `TorchTrainer` of its own for every trial. All train and evaluate
the same trials with the same code, each in an empty store. Ours and Ray's are counted from the start of the command to
its end. Needs a quiet machine; about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from row import Row, finish

from sweeper import data
from sweeper.config import find_sweep, load_sweep
from sweeper.execution.trial_stages import run_trial
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.tracking import Tracker
from sweeper.training import TrialRow


def prepared(overrides: list[str], folder: Path) -> tuple[Plan, Store, Tracker]:
    """What a trial needs, with its data there."""
    sweep = load_sweep(find_sweep("quickstart"), overrides)
    plan, store = plan_sweep(sweep), Store.from_location(folder)
    for model in sweep.models.values():
        data.prepare_data(sweep.data, model, store.root)
    return plan, store, Tracker("none", sweep.name, store)


def plain_loop(overrides: list[str], folder: Path, first: int) -> float:
    """Seconds of training and evaluation, one trial after the other here, imports and data paid before. Every so many
    trials from the `first`: others take the rest."""
    plan, _, tracker = prepared(overrides, folder)
    import trl  # noqa: F401  (the loop is bare: its imports are not counted)

    started = time.monotonic()
    for trial in plan.trials[first :: os.cpu_count()]:
        done(run_trial(trial, tracker, lambda progress: None))
    return time.monotonic() - started


def nested(overrides: list[str], folder: Path) -> None:
    """Tune over a function that fits a TorchTrainer, as Ray's guide has it."""
    import ray
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    plan, _, tracker = prepared(overrides, folder)
    ray.init(include_dashboard=True, log_to_driver=False)

    def train(config: dict[str, Any]) -> None:
        trial = plan.trials[config["i"]]
        done(run_trial(trial, tracker, lambda progress: None))

    def driver(config: dict[str, Any]) -> None:
        TorchTrainer(
            train,
            train_loop_config=config,
            # Not a whole core, so that with its driver as many trials run at once as there are cores.
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
            run_config=RunConfig(name=f"train-{config['i']}", storage_path=str(folder / "train")),
        ).fit()
        tune.report({"done": True})

    tuner = tune.Tuner(
        tune.with_resources(driver, {"CPU": 0.01}),
        param_space={"i": tune.grid_search(list(range(len(plan.trials))))},
        tune_config=tune.TuneConfig(max_concurrent_trials=os.cpu_count()),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder / "tune"), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors, results.errors
    ray.shutdown()


def done(row: TrialRow) -> None:
    """A trial that failed would be quick."""
    assert row.status == "COMPLETE", row


def in_a_process(command: list[str]) -> float:
    """Seconds from its start to its end. What it prints is shown only where it fails."""
    started = time.monotonic()
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    return time.monotonic() - started


def main() -> int:
    """Measure in turn, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--way", choices=("plain", "nested"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--first", type=int)
    asked = parser.parse_args()
    if asked.way == "plain":
        print(plain_loop(asked.overrides, asked.folder, asked.first))
        return 0
    if asked.way == "nested":
        nested(asked.overrides, asked.folder)
        return 0
    ways: dict[str, list[float]] = {"ours": [], "plain": [], "nested": []}
    # Every way trains the same trials: those of two seeds, whatever their verdicts.
    asked.overrides = ["axes.seed=[0,1]", "until=complete", *asked.overrides]
    sets = [part for override in asked.overrides for part in ("--set", override)]
    for pair in range(asked.pairs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            here = [sys.executable, __file__, *sets]
            run = [sys.executable, "-m", "sweeper", "run", "quickstart", *sets, "--tracking", "none", "--storage"]
            ways["ours"].append(in_a_process([*run, str(folder / "ours")]))
            loop = [*here, "--way", "plain", "--folder", str(folder / "plain")]
            loops = [
                subprocess.Popen([*loop, "--first", str(i)], stdout=subprocess.PIPE, text=True)
                for i in range(os.cpu_count() or 1)
            ]
            ways["plain"].append(max(float(one.communicate()[0].splitlines()[-1]) for one in loops))
            ways["nested"].append(in_a_process([*here, "--way", "nested", "--folder", str(folder / "nested")]))
        print(f"  pair {pair + 1}: { ({way: round(seconds[-1]) for way, seconds in ways.items()}) } s", flush=True)
    what = "the quickstart, from the command to its last trial"
    alone = f"the bare trials, {os.cpu_count()} at once"
    return finish(
        [
            Row(what, "s", ways["ours"], alone, ways["plain"], aim="<= 1.25", limit_is="the bare trials themselves"),
            Row(what, "s", ways["ours"], "a TorchTrainer for each trial under Tune", ways["nested"]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
