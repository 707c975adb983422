"""Tables of a study: one row per planned trial, and plans by the name of a study."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_studies import load_small_sweep, run_inline

from sweeper.errors import StoreError, UsageError
from sweeper.evaluation import compute_suite_fingerprint
from sweeper.planning.budget import RESOURCE_USAGE_FILE
from sweeper.planning.plan import PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import CONTAMINATION_FILE, collect_study, is_finished, load_study_plan, read_trial_row
from sweeper.search import Proposal
from sweeper.storage import Store, write_json
from sweeper.training import Failure, TrialRecord, TrialStatus


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


def publish_record(store: Store, trial: PlannedTrial, status: TrialStatus) -> None:
    record = TrialRecord(fingerprint=trial.fingerprint, status=status, model=trial.spec.model.name)
    store.publish(store.record_path(trial.fingerprint), record.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("status", "evaluation", "expected"),
    [
        ("COMPLETE", "null", True),
        ("DIVERGED", "null", True),
        ("FAILED", "null", False),
        ("PRUNED", "null", False),
        ("COMPLETE", "toolworld", False),
    ],
)
def test_is_finished_needs_a_record_and_an_evaluation(
    tmp_path: Path, status: TrialStatus, evaluation: str, expected: bool
) -> None:
    store = Store(tmp_path)
    (trial,) = plan_sweep(load_small_sweep("axes.seed=[0]", f"evaluation={evaluation}")).trials
    assert not is_finished(trial, store)
    publish_record(store, trial, status)
    assert is_finished(trial, store) is expected


def test_is_finished_accepts_a_pruned_trial_of_its_own_search(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (trial,) = plan_sweep(load_small_sweep("axes.seed=[0]", "evaluation=null")).trials
    publish_record(store, trial, "PRUNED")
    assert not is_finished(trial, store)
    stopped = Proposal("", 0, False, {}, is_stopped=True)
    assert is_finished(replace(trial, role="explore", proposal=stopped), store)


def test_collect_study_hides_a_trial_that_another_search_pruned(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), plan_sweep(load_small_sweep("axes.seed=[0]", "evaluation=null"))
    publish_record(store, plan.trials[0], "PRUNED")
    assert [row.status for row in collect_study(plan, store).trials] == ["PENDING"]
    assert read_trial_row(plan.trials[0], store).status == "PRUNED"


def test_collect_study_reads_documents_of_the_study(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), plan_sweep(load_small_sweep("axes.seed=[0]"))
    empty = collect_study(plan, store)
    assert (empty.manifest, empty.contamination, empty.first_plan, empty.resource_usage) == ({}, None, None, None)
    folder = store.study_folder("quickstart")
    for name in ("manifest.json", CONTAMINATION_FILE, "plan.json", RESOURCE_USAGE_FILE):
        write_json(folder / name, {"file": name, "exclude": []})
    tables = collect_study(plan, store)
    assert tables.runs == [{"file": "manifest.json", "exclude": []}]  # as version 0.1.0 wrote it
    assert tables.contamination == {"file": CONTAMINATION_FILE, "exclude": []}
    assert tables.first_plan == {"file": "plan.json", "exclude": []}
    assert tables.resource_usage == {"file": RESOURCE_USAGE_FILE, "exclude": []}


def test_collect_study_shows_a_failed_evaluation(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), plan_sweep(load_small_sweep("axes.seed=[0]"))
    (trial,) = plan.trials
    publish_record(store, trial, "COMPLETE")
    assert [row.status for row in collect_study(plan, store).trials] == ["PENDING"]
    assert trial.evaluation is not None
    suite = compute_suite_fingerprint(trial.evaluation, trial.spec.data)
    failure = Failure(kind="bug", message="broken", traceback="")
    write_json(store.evaluation_folder(trial.fingerprint, suite) / "failure.json", failure.model_dump())
    (row,) = collect_study(plan, store).trials
    assert (row.status, row.failure) == ("FAILED", failure)


def test_collect_study_marks_a_trial_with_a_damaged_history(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[1] / "pinned" / "store", tmp_path / "store")
    store = Store(tmp_path / "store")
    plan = load_study_plan("tiny", store)
    (store.trial_folder(plan.trials[0].fingerprint) / "history.parquet").write_bytes(b"no parquet")
    first, *others = collect_study(plan, store).trials
    assert first.status == "UNREADABLE"
    assert first.failure is not None
    assert "history cannot be read" in first.failure.message
    assert {row.status for row in others} == {"COMPLETE"}


def test_load_study_plan_suggests_studies_and_sweeps(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.study_folder("mine")
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text("name: mine")
    with pytest.raises(UsageError, match=r"did you mean `mine`\? known: .*mine, .*quickstart"):
        load_study_plan("mien", store)
    with pytest.raises(UsageError, match="give the path of its sweep file"):
        load_study_plan("mine", store, ["axes.seed=[0]"])


def test_load_study_plan_refuses_a_damaged_stored_sweep(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.study_folder("quickstart")
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text("name: quickstart\naxes: 3\n")
    with pytest.raises(StoreError, match="run the sweep again"):
        load_study_plan("quickstart", store)
    assert load_study_plan("quickstart", store, ["axes.seed=[0]"]).sweep.name == "quickstart"
