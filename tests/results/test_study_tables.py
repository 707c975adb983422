"""Tables of a study: one row per planned trial, and plans by the name of a study."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from small_studies import load_small_sweep, run_inline

from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study, load_study_plan
from sweeper.storage import Store


@pytest.mark.slow
def test_collect_study_returns_a_row_for_every_planned_trial(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_inline(plan_sweep(load_small_sweep("axes.seed=[0]")), store)
    wider = plan_sweep(load_small_sweep("axes.seed=[0,1]"))
    tables = collect_study(wider, store)
    assert [row.status for row in tables.trials] == ["COMPLETE", "PENDING"]
    assert math.isnan(tables.trials[1].get_metric("val_loss"))
    assert len(tables.outcomes) == 6
    assert "1 finished before, 1 to run" in run_inline(wider, store)


def test_collect_study_reads_running_from_the_lock(tmp_path: Path) -> None:
    plan, store = plan_sweep(load_small_sweep("axes.seed=[0]")), Store(tmp_path)
    lock = store.trial_folder(plan.trials[0].fingerprint) / ".lock"
    lock.parent.mkdir(parents=True)
    hold = "import sys, filelock\nlock = filelock.FileLock(sys.argv[1])\nlock.acquire()\nprint(flush=True)\ninput()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    other.stdout.readline()
    assert collect_study(plan, store).trials[0].status == "RUNNING"
    other.kill()
    other.communicate()
    assert collect_study(plan, store).trials[0].status == "PENDING"


@pytest.mark.slow
def test_load_study_plan_plans_a_stored_study_by_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = plan_sweep(load_small_sweep("axes.seed=[5]"))
    run_inline(plan, store)
    assert load_study_plan("quickstart", store) == plan
