"""Trials of mixed sizes on Ray Tune: real Ray nodes on this machine with fake GPUs, trials that only sleep."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeper.cluster import LocalCluster
from sweeper.config import find_sweep, load_sweep
from sweeper.errors import LostWorkerError
from sweeper.execution.progress import ProgressDisplay
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study
from sweeper.storage import Store
from sweeper.training import Failure, TrainingProgress, TrialProgress, TrialRow

pytestmark = [pytest.mark.slow, pytest.mark.ray]
SIZES = {
    "opt-tiny-32": "{engine: single, cpus: 0.01, gpus: 0.5}",
    "opt-tiny-64": "{engine: single, cpus: 0.01, gpus: 1}",
    "opt-tiny-96": "{engine: ddp, workers: 2, cpus: 0.01, gpus: 1}",
}


@pytest.fixture(scope="module")
def driver() -> Iterator[ProcessPoolExecutor]:
    """A process for the drivers of all tests here: Ray reads its environment once, when it is imported."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def plan_mixed_sizes(trials_of_each: int) -> Plan:
    runtime = ", ".join(f"{model}: {resources}" for model, resources in SIZES.items())
    seeds = list(range(trials_of_each))
    overrides = ["claims=[]", f"axes.model=[{', '.join(SIZES)}]", "axes.num_train_epochs=[1]", f"axes.seed={seeds}"]
    plan = plan_sweep(load_sweep(find_sweep("quickstart"), [*overrides, f"runtime={{{runtime}}}"]))
    assert plan.problems == ()
    return plan


def run(plan: Plan, root: Path, work: Any, cluster: LocalCluster) -> str:
    os.environ.update(cluster.environment)
    from ray import cloudpickle

    from sweeper.execution.backends.ray import open_backend
    from sweeper.execution.ray_backend.tune import run_trials_on_ray
    from sweeper.execution.run_context import RunContext
    from sweeper.execution.trial_source import FixedTrials

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    text = io.StringIO()
    store = Store(root)
    with ProgressDisplay(Console(file=text, width=200)) as display, open_backend(cluster.address, display):
        display.start_study(plan, list(plan.trials), store)
        store.study_folder(plan.sweep.name).mkdir(parents=True)
        run = RunContext.start(plan, store, "none", display)
        run_trials_on_ray(FixedTrials(plan.trials, run.budget_tracker), run, work)
    return text.getvalue()


def hold(trial: PlannedTrial, store: Store, tracker: Any, on_progress: Any, nodes: tuple[str, ...], pruner: Any) -> Any:
    """Hold the resources of a real trial for a moment, of several workers as Ray Train does; write when and where."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    requested_at, runtime = time.time(), trial.spec.runtime
    group = None
    if runtime.workers > 1:
        labels = [{"ray.io/node-id": node} for node in nodes]
        group = placement_group([{"CPU": runtime.cpus, "GPU": runtime.gpus}] * len(nodes), bundle_label_selector=labels)
        ray.get(group.ready())
    held_at = time.time()
    time.sleep(0.5)
    note = {
        "nodes": nodes,
        "gpus": runtime.gpus,
        "asked": requested_at,
        "held": held_at,
        "until": time.time(),
        "pid": os.getpid(),
    }
    if group is not None:
        remove_placement_group(group)
    (store.root / f"{trial.fingerprint}.json").write_text(json.dumps(note | {"workers": runtime.workers}))
    return TrialRow(trial.fingerprint, "COMPLETE")


@pytest.mark.parametrize("trials_of_each", [7, pytest.param(20, marks=pytest.mark.long)])
def test_mixed_trials_all_end_without_overcommitting_a_gpu(
    trials_of_each: int, two_nodes: LocalCluster, driver: ProcessPoolExecutor, tmp_path: Path
) -> None:
    plan = plan_mixed_sizes(trials_of_each)
    output = driver.submit(run, plan, tmp_path, hold, two_nodes).result()
    notes = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(notes) == 3 * trials_of_each
    assert output.count("COMPLETE") == 3 * trials_of_each
    for moment in sorted(note["held"] for note in notes):
        used: dict[str, float] = {}
        for note in notes:
            if note["held"] <= moment < note["until"]:
                for node in note["nodes"]:
                    used[node] = used.get(node, 0) + note["gpus"]
        assert all(gpus <= 2 for gpus in used.values())
    waited = [note["held"] - note["asked"] for note in notes if note["workers"] > 1]
    assert len(waited) == trials_of_each
    assert max(waited) < 10, "no multi-worker trial waits for a GPU that another trial holds"
    assert "GPUs in use" in output
    print(len({note["pid"] for note in notes}), output.splitlines()[-1])


def lose(trial: PlannedTrial, store: Store, tracker: Any, on_progress: Any, nodes: Any, pruner: Any) -> Any:
    """Lose the worker of the first trial five times, each time a step later, and that of the second at every try."""
    tries = store.root / f"{trial.fingerprint}.tries"
    with tries.open("a") as file:
        file.write("x")
    count = len(tries.read_text())
    if trial.spec.seed == 0 and count <= 5:
        on_progress(TrialProgress("training", TrainingProgress(count, 9)))
        time.sleep(0.5)
        if count == 1:
            os._exit(1)
        raise LostWorkerError("a test", found="gone")
    if trial.spec.seed == 1:
        raise LostWorkerError("a test", found="gone")
    return TrialRow(trial.fingerprint, "COMPLETE")


def test_lost_worker_is_replaced_three_times_or_while_its_trial_makes_progress(
    two_nodes: LocalCluster, driver: ProcessPoolExecutor, tmp_path: Path
) -> None:
    plan = plan_mixed_sizes(3)
    few = Plan(plan.sweep, tuple(trial for trial in plan.trials if trial.spec.model.name == "opt-tiny-64"), ())
    output = driver.submit(run, few, tmp_path, lose, two_nodes).result()
    tries = [len((tmp_path / f"{trial.fingerprint}.tries").read_text()) for trial in few.trials]
    assert tries == [6, 4, 1]
    assert output.count("COMPLETE") == 2
    assert "lost 4 times" in output
    record = collect_study(few, Store(tmp_path)).trials[1]
    assert record.failure is not None
    assert record.failure.kind == "lost-worker"


def fail(trial: PlannedTrial, store: Store, tracker: Any, on_progress: Any, nodes: Any, pruner: Any) -> Any:
    """Fail with the same bug every time."""
    (store.root / f"{trial.fingerprint}.tried").touch(exist_ok=False)
    return TrialRow.failed(trial.fingerprint, Failure(kind="bug", message="KeyError: 'x'", traceback=""))


def test_failure_is_not_retried_and_five_alike_stop_the_study(
    two_nodes: LocalCluster, driver: ProcessPoolExecutor, tmp_path: Path
) -> None:
    plan = plan_mixed_sizes(8)
    output = driver.submit(run, plan, tmp_path, fail, two_nodes).result()
    assert "all failed with KeyError: 'x'" in output
    assert 5 <= len(list(tmp_path.glob("*.tried"))) < 24


def run_out_of_memory(
    trial: PlannedTrial, store: Store, tracker: Any, on_progress: Any, nodes: Any, pruner: Any
) -> Any:
    """Run out of memory in two of three trials: one continues with a smaller micro-batch, one fails."""
    (store.root / f"{trial.fingerprint}.pid").write_text(str(os.getpid()))
    row = TrialRow(trial.fingerprint, "COMPLETE")
    if trial.spec.seed % 3 == 1:
        return replace(row, out_of_memory_at=(8, 4))
    if trial.spec.seed % 3 == 2:
        return TrialRow.failed(trial.fingerprint, Failure(kind="out-of-memory", message="out of memory", traceback=""))
    return row


def test_worker_that_ran_out_of_memory_is_replaced(
    two_nodes: LocalCluster, driver: ProcessPoolExecutor, tmp_path: Path
) -> None:
    mixed = plan_mixed_sizes(6)
    plan = Plan(mixed.sweep, tuple(trial for trial in mixed.trials if trial.spec.model.name == "opt-tiny-64"), ())
    output = driver.submit(run, plan, tmp_path, run_out_of_memory, two_nodes).result()
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 6
    assert (output.count("COMPLETE"), output.count("FAILED")) == (4, 2)
    assert "lost" not in output, "its trial had ended"
    exhausted = {
        int((tmp_path / f"{trial.fingerprint}.pid").read_text()) for trial in plan.trials if trial.spec.seed % 3 != 0
    }
    assert len(exhausted) == 4, "none of them was used again"
