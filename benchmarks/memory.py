"""What does a long study hold on to? The driver of many trials, and a warm worker over many real ones.

    python benchmarks/memory.py [--trials 1000] [--real 50]

`--trials`: trials that do nothing on a Ray of their own: peak memory of the driver, and the seconds in which `status`
reads them all. `--real`: one-epoch trials of the smallest model, one after the other in one worker process, whose
resident memory after each is taken; what counts is by how much the last ten exceed the eleventh to twentieth. Needs a
quiet machine; three to five minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from row import Row, finish

SMALL_WORLD = "data.toolworld={train_queries: 160, validation_queries: 8, test_queries_per_subset: 2}"


def nothing(trial: Any, store: Any, tracker: Any, tell: Any, nodes: Any, pruner: Any) -> Any:
    """A finished trial's record, at once."""
    from sweeper.training import TrainingProgress, TrialProgress, TrialRecord, TrialRow

    record = TrialRecord(
        fingerprint=trial.fingerprint,
        status="COMPLETE",
        model=trial.spec.model.name,
        parameters=1,
        metrics={"val_loss": 1.0, "train_loss": 1.0, "steps": 20.0, "tokens": 1e4, "train_seconds": 1.0},
        asked={},
        applied={},
        data={},
        environment={"device": "cpu"},
    )
    store.publish(store.record_path(trial.fingerprint), record.model_dump(mode="json"))
    tell(TrialProgress("training", TrainingProgress(step=1, total_steps=20, loss=1.0)))
    return TrialRow.from_record(record)


def real(trial: Any, store: Any, tracker: Any, tell: Any, nodes: Any, pruner: Any) -> Any:
    """A real trial, and what the worker holds afterwards."""
    from sweeper.execution.ray_backend.tune import run_trial_on_ray

    row = run_trial_on_ray(trial, store, tracker, tell, nodes, pruner)
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    with (store.root / "held").open("a") as file:
        file.write(f"{os.getpid()} {row.status} {held}\n")
    return row


def study_of(work: Any, trials: int, folder: Path, prepared: bool) -> None:
    """A study of so many trials of one arm, at most one real one at a time."""
    from ray import cloudpickle
    from rich.console import Console

    from sweeper import data
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
    asked += [SMALL_WORLD, "recipe.warmup_steps=2", *(["evaluation=null"] if not prepared else [])]
    asked += [f"runtime={{default: {{engine: single, cpus: {os.cpu_count() if prepared else 1}}}}}"]
    plan = plan_sweep(load_sweep(find_sweep("quickstart"), asked))
    store = Store.from_location(str(folder))
    if prepared:
        for model in plan.sweep.models.values():
            data.prepare_data(plan.sweep.data, model, store.root)
    with ProgressDisplay(Console(file=io.StringIO())) as display, open_backend(None, display):
        display.start_study(plan, list(plan.trials), store)
        store.study_folder(plan.sweep.name).mkdir(parents=True)
        run = RunContext.start(plan, store, "none", display)
        run_trials_on_ray(FixedTrials(plan.trials, run.budget_tracker), run, work)
        plan_file = store.study_folder(plan.sweep.name) / "sweep.yaml"
    from sweeper.config import write_yaml

    write_yaml(plan_file, plan.sweep.model_dump(mode="json"))


def in_a_process(way: str, trials: int, folder: Path) -> float:
    """Peak resident memory of the driver, MB."""
    here = [sys.executable, __file__, "--way", way, "--trials", str(trials), "--folder", str(folder)]
    done = subprocess.run(here, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout.splitlines()[-1])


def refresh(folder: Path) -> list[float]:
    """Seconds in which the whole study is read from the store, as `status` and the end of a run do, three times."""
    from sweeper.results.study_tables import collect_study, load_study_plan
    from sweeper.storage import Store

    store, seconds = Store.from_location(str(folder)), []
    plan = load_study_plan("quickstart", store, None)
    for _ in range(3):
        started = time.monotonic()
        tables = collect_study(plan, store)
        seconds.append(time.monotonic() - started)
        assert all(row.status == "COMPLETE" for row in tables.trials)
    return seconds


def main() -> int:
    """Measure both, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--real", type=int, default=50)
    parser.add_argument("--way", choices=("nothing", "real"))
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.way:
        study_of({"nothing": nothing, "real": real}[asked.way], asked.trials, asked.folder, asked.way == "real")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        driver = in_a_process("nothing", asked.trials, folder / "many")
        seconds = refresh(folder / "many")
        in_a_process("real", asked.real, folder / "real")
        held = [line.split() for line in (folder / "real" / "held").read_text().splitlines()]
    assert len(held) == asked.real, held
    assert {status for _, status, _ in held} == {"COMPLETE"}, held
    assert len({pid for pid, _, _ in held}) == 1, "one worker"
    megabytes = [int(size) / 2**20 for _, _, size in held]
    growth = statistics.median(megabytes[-10:]) - statistics.median(megabytes[10:20])
    many = f"a study of {asked.trials:,} trials"
    return finish(
        [
            Row(f"{many}: peak memory of the driver", "MB", [driver], aim="<= 2000"),
            Row(f"{many}: reading its status", "s", seconds, aim="<= 1"),
            Row(
                f"a warm worker after {asked.real} real trials, over its tenth to twentieth",
                "MB",
                [growth],
                aim="<= 20",
            ),
        ],
        worker_megabytes=megabytes,
    )


if __name__ == "__main__":
    sys.exit(main())
