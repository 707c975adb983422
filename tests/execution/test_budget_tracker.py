"""The budget of a running study, saved in its folder and continued by the next run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from small_studies import load_small_sweep

from sweeper.execution.budget_tracker import BudgetTracker
from sweeper.planning.budget import RESOURCE_USAGE_FILE
from sweeper.planning.cost_model import UNKNOWN_COST, DiskUsage, Remaining, TrialEstimate, Workload
from sweeper.planning.plan import PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store, read_json
from sweeper.training import TrialRow

WORKLOAD = Workload(10, 100, 1e9, 1e5, 50, 1e5, 100)


def plan_trials(store: Store, *overrides: str) -> tuple[BudgetTracker, list[PlannedTrial]]:
    sweep = load_small_sweep(*overrides)
    return BudgetTracker(sweep, store), list(plan_sweep(sweep).trials)


def test_finish_counts_training_and_evaluation_of_a_trial(tmp_path: Path) -> None:
    tracker, (trial, *_) = plan_trials(Store(tmp_path))
    assert tracker.try_start(trial)
    tracker.finish(TrialRow(trial.fingerprint, "COMPLETE", {"train_seconds": 3600.0, "eval_seconds": 1800.0}))
    assert tracker.budget.usage.cpu_hours == pytest.approx(1.5 * trial.spec.runtime.cpus)
    saved = read_json(Store(tmp_path).study_folder("quickstart") / RESOURCE_USAGE_FILE)
    assert saved["cpu_hours"] == tracker.budget.usage.cpu_hours
    assert saved["wall_hours"] > 0


def test_finish_counts_the_own_steps_of_a_branch(tmp_path: Path) -> None:
    tracker, (trial, *_) = plan_trials(Store(tmp_path))
    tracker.try_start(trial)
    metrics = {"train_seconds": 7200.0, "own_train_seconds": 3600.0}
    tracker.finish(TrialRow(trial.fingerprint, "COMPLETE", metrics))
    assert tracker.budget.usage.cpu_hours == pytest.approx(trial.spec.runtime.cpus)


def test_finish_counts_no_training_of_an_earlier_run(tmp_path: Path) -> None:
    tracker, (trial, *_) = plan_trials(Store(tmp_path))
    estimate = TrialEstimate(
        WORKLOAD, Remaining(needs_training=False), UNKNOWN_COST, DiskUsage(0, 0, 0), hardware=None, basis=""
    )
    tracker.try_start(replace(trial, estimate=estimate))
    tracker.finish(TrialRow(trial.fingerprint, "COMPLETE", {"train_seconds": 7200.0, "eval_seconds": 3600.0}))
    assert tracker.budget.usage.cpu_hours == pytest.approx(trial.spec.runtime.cpus)


def test_finish_ignores_a_trial_that_did_not_start(tmp_path: Path) -> None:
    tracker, (trial, *_) = plan_trials(Store(tmp_path))
    tracker.finish(TrialRow(trial.fingerprint, "COMPLETE", {"train_seconds": 3600.0}))
    assert tracker.budget.usage.cpu_hours == 0


def test_tracker_continues_the_usage_of_earlier_runs(tmp_path: Path) -> None:
    store, overrides = Store(tmp_path), ("budget={cpu_hours: 1}",)
    tracker, (trial, other, *_) = plan_trials(store, *overrides)
    assert tracker.try_start(trial)
    tracker.finish(TrialRow(trial.fingerprint, "COMPLETE", {"train_seconds": 36000.0}))
    tracker.close()
    later, _ = plan_trials(store, *overrides)
    assert later.budget.usage == tracker.budget.usage
    assert not later.try_start(other)
    assert later.budget.refusal_reason is not None
    assert "budget.cpu_hours" in later.budget.refusal_reason


def test_tracker_saves_unknown_dollars_as_null(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tracker, (trial, *_) = plan_trials(store, "runtime={default: {gpus: 1}}")
    tracker.try_start(trial)
    tracker.finish(TrialRow(trial.fingerprint, "COMPLETE", {"train_seconds": 3600.0}))
    assert read_json(store.study_folder("quickstart") / RESOURCE_USAGE_FILE)["usd"] is None
    later, _ = plan_trials(store)
    assert math.isnan(later.budget.usage.usd)
    assert later.budget.usage.gpu_hours == pytest.approx(1)


def test_try_start_keeps_the_reservation_of_a_requeued_trial(tmp_path: Path) -> None:
    tracker, (trial, other, *_) = plan_trials(Store(tmp_path), "budget={wall_hours: 1}")
    assert tracker.try_start(trial)
    tracker.budget.earlier_hours = 2.0
    assert tracker.try_start(trial)
    assert not tracker.try_start(other)
