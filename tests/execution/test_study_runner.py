"""Plans name what stands in the way; a failed evaluation costs no training; every planned trial is a row."""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from rich.console import Console

from sweeper import data
from sweeper.config import Sweep, load_sweep
from sweeper.errors import ConfigError, DataError, TrialsFailedError, UsageError
from sweeper.execution.backends import inline
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.study_runner import run_study
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study, load_study_plan
from sweeper.storage import Store

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "claims=[]",
    "axes.model=[opt-tiny-32]",
    "axes.num_train_epochs=[1]",
    "recipe.warmup_steps=2",
    "data.toolworld={train_queries: 40, validation_queries: 6, test_queries_per_subset: 1}",
]


def small(*more: str) -> Sweep:
    return load_sweep(ROOT / "sweeps/quickstart.yaml", [*SMALL, *more])


def run(plan: Plan, store: Store) -> str:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200)) as display:
        run_study(plan, store, backend="inline", address=None, tracking="none", display=display)
    return text.getvalue()


def test_plan_is_the_product_of_the_axes_and_stable() -> None:
    sweep = load_sweep(ROOT / "sweeps/quickstart.yaml")
    plan = plan_sweep(sweep)
    assert len({trial.fingerprint for trial in plan.trials}) == len(plan.trials) == 12
    assert plan == plan_sweep(sweep)


def test_fitting_is_an_axis_and_part_of_a_trials_identity() -> None:
    sweep = small("axes.seed=[0]", "axes.fit=[strict, truncate]", "axes.max_length=[200, 256]")
    plan = plan_sweep(sweep)
    assert plan.problems == ()
    rows = [trial.to_row() for trial in plan.trials]
    assert [(row["fit"], row["max_length"]) for row in rows] == [
        (fit, length) for fit in ("strict", "truncate") for length in (200, 256)
    ]
    assert (
        len({trial.fingerprint for trial in plan.trials}) == len({trial.data_fingerprint for trial in plan.trials}) == 4
    )
    with pytest.raises(ConfigError, match="fit"):
        small("axes.fit=[sometimes]")


def test_more_queries_than_the_world_can_word_are_a_problem_of_the_plan() -> None:
    plan = plan_sweep(small("data.toolworld={train_queries: 60000}"))
    (problem,) = plan.problems
    assert "30000 queries of G1_instruction" in problem
    assert "only" in problem


def test_more_tokens_than_positions_is_a_problem_that_names_both() -> None:
    plan = plan_sweep(small("axes.max_length=[513]"))
    assert len(plan.problems) == 1
    assert "513" in plan.problems[0]
    assert "512" in plan.problems[0]
    stretched = plan_sweep(small("data.max_length=513", "data.extend_positions=interpolate"))
    whole = plan_sweep(small("data.max_length=512", "data.extend_positions=interpolate"))
    assert stretched.problems == whole.problems == ()
    assert stretched.trials[0].parameters == (whole.trials[0].parameters or 0) + 32
    unasked = plan_sweep(small("data.max_length=512"))
    assert unasked.trials[0].fingerprint == whole.trials[0].fingerprint, "asked for and not needed: the same trial"


@pytest.mark.slow
def test_every_arm_of_a_fitting_sweep_is_evaluated_and_reported(tmp_path: Path) -> None:
    from sweeper.report import build_study_report

    store = Store(tmp_path)
    plan = plan_sweep(small("axes.seed=[0]", "axes.fit=[strict, keep-target]", "data.max_length=80"))
    shown = run(plan, store)
    assert "fit keep-target" in shown
    tables = collect_study(plan, store)
    strict, cut = (row.data["fit"] for row in tables.trials)
    assert strict["dropped"]["too-long"] > 0 == strict["prompts_cut"]
    assert cut["prompts_cut"] > 0
    document = build_study_report(tables)
    assert [arm["fit"] for arm in document["arms"]] == ["strict", "keep-target"]
    assert document["leakage"]["test"]["queries"] == 6
    assert all(arm["without_leaked"]["n_queries"] <= 6 for arm in document["arms"])


def test_planned_compute_is_known_once_the_data_are_prepared(tmp_path: Path) -> None:
    from sweeper import data

    store, sweep = Store(tmp_path), small("axes.seed=[0]", "axes.train_flops_budget=[null, 5e10]")
    unprepared = plan_sweep(sweep, store)
    assert [(row["planned_train_flops"], row["planned_steps"]) for row in unprepared.to_document()["trials"]] == [
        (None, None)
    ] * 2
    data.prepare_data(sweep.data, sweep.models["opt-tiny-32"], tmp_path)
    plan = plan_sweep(sweep, store)
    assert plan == unprepared, "the same trials"
    epoch, budget = plan.to_document()["trials"]
    assert epoch["planned_steps"] == 5, "40 rows, batch 8"
    assert 0 < epoch["planned_train_flops"] < 5e10
    assert budget["planned_train_flops"] == pytest.approx(5e10, rel=0.05)
    assert budget["planned_steps"] >= 20
    too_small = plan_sweep(small("axes.seed=[0]", "recipe.train_flops_budget=1e6"), store)
    assert "train_flops_budget" in too_small.problems[0]
    with pytest.raises(ConfigError, match="max_steps"):
        small("recipe.max_steps=5", "recipe.train_flops_budget=1e9")


def test_leaving_does_not_wait_for_an_audit_that_nobody_will_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, ended = Event(), Event()

    def for_ever(*_: object, on_progress: data.FractionReporter) -> None:
        reading.set()
        try:
            while True:
                on_progress(0.5)
        finally:
            ended.set()

    def stopped(*_: object) -> None:
        assert reading.wait(60), "the audit runs while trials do"
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "audit_contamination", for_ever)
    monkeypatch.setattr(inline, "_run_trials", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(plan_sweep(small("axes.seed=[0]")), Store(tmp_path))
    assert ended.is_set()


@pytest.mark.slow
def test_an_audit_that_failed_costs_no_trial_and_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = plan_sweep(small("axes.seed=[0]")), Store(tmp_path)

    def fails(*_: object, on_progress: data.FractionReporter) -> None:
        raise DataError("audit", found="planted")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="planted"):
        patch.setattr(data, "audit_contamination", fails)
        run(plan, store)
    assert [row.status for row in collect_study(plan, store).trials] == ["COMPLETE"]
    assert "train/test contamination: " in run(plan, store)
    assert "train/test contamination: " not in run(plan, store), "once"


def test_one_model_under_two_names_is_a_problem(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    original = (ROOT / "configs/models/opt-tiny-32.yaml").read_text()
    (tmp_path / "configs/models/twin.yaml").write_text(original.replace("name: opt-tiny-32", "name: twin"))
    (tmp_path / "q.yaml").write_text((ROOT / "sweeps/quickstart.yaml").read_text())
    sweep = load_sweep(tmp_path / "q.yaml", [*SMALL, "axes.model=[opt-tiny-32, twin]"])
    plan = plan_sweep(sweep)
    assert "same trial" in plan.problems[0]
    with pytest.raises(UsageError, match="nothing was started"):
        run(plan, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_failed_evaluation_costs_no_training(tmp_path: Path) -> None:
    plan, store = plan_sweep(small("axes.seed=[0]")), Store(tmp_path)
    (trial,) = plan.trials
    assert "pass rate" in run(plan, store)
    shutil.rmtree(store.trial_folder(trial.fingerprint) / "evaluation")
    weights = store.trial_folder(trial.fingerprint) / "model" / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(b"broken")
    with pytest.raises(TrialsFailedError, match=trial.fingerprint):
        run(plan, store)
    (row,) = collect_study(plan, store).trials
    assert row.failure is not None
    assert row.status == "FAILED"
    assert "Traceback" in row.failure.traceback
    assert row.get_metric("val_loss") > 0
    before = store.record_path(trial.fingerprint).read_bytes()
    weights.write_bytes(kept)
    run(plan, store)
    assert collect_study(plan, store).trials[0].status == "COMPLETE"
    assert store.record_path(trial.fingerprint).read_bytes() == before


@pytest.mark.slow
def test_every_planned_trial_is_a_row_and_a_study_grows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(plan_sweep(small("axes.seed=[0]")), store)
    wider = plan_sweep(small("axes.seed=[0,1]"))
    tables = collect_study(wider, store)
    assert [row.status for row in tables.trials] == ["COMPLETE", "PENDING"]
    assert math.isnan(tables.trials[1].get_metric("val_loss"))
    assert len(tables.outcomes) == 6
    assert "1 finished before, 1 to run" in run(wider, store)


def test_running_means_a_live_lock(tmp_path: Path) -> None:
    plan, store = plan_sweep(small("axes.seed=[0]")), Store(tmp_path)
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
def test_the_study_is_found_by_name_as_it_was_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = plan_sweep(small("axes.seed=[5]"))
    run(plan, store)
    assert load_study_plan("quickstart", store) == plan
