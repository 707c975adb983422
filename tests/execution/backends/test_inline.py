"""The backend `inline`: trials run one after the other, and a lost worker fails only its own trial."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from small_studies import load_small_sweep

from sweeper.errors import LostWorkerError
from sweeper.execution.backends import inline
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.run_context import RunContext
from sweeper.execution.trial_source import FixedTrials
from sweeper.planning.plan import PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.training import TrialRow, read_record


def start_run(store: Store, *overrides: str) -> RunContext:
    plan = plan_sweep(load_small_sweep(*overrides))
    display = ProgressDisplay(Console(file=io.StringIO()))
    display.start_study(plan, plan.trials, store)
    return RunContext.start(plan, store, "none", display)


def run_trials(run: RunContext) -> None:
    with inline.open_backend(None, run.display) as session:
        session.run_trials(FixedTrials(run.plan.trials, run.budget_tracker), run)


def test_inline_backend_continues_after_a_lost_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    run = start_run(store, "axes.seed=[0,1]")
    first, second = run.plan.trials
    started: list[str] = []

    def run_trial(trial: PlannedTrial, *_: object, **__: object) -> TrialRow:
        started.append(trial.fingerprint)
        if trial is first:
            raise LostWorkerError("worker", found="killed")
        return TrialRow(trial.fingerprint, "COMPLETE")

    monkeypatch.setattr(inline, "run_trial", run_trial)
    run_trials(run)
    assert started == [first.fingerprint, second.fingerprint]
    record = read_record(store.record_path(first.fingerprint))
    assert record is not None
    assert record.status == "FAILED"


def test_inline_backend_skips_trials_beyond_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(Store(tmp_path), "axes.seed=[0,1]", "budget={cpu_hours: 1}")
    started: list[str] = []

    def run_trial(trial: PlannedTrial, *_: object, **__: object) -> TrialRow:
        started.append(trial.fingerprint)
        return TrialRow(trial.fingerprint, "COMPLETE", {"train_seconds": 7200.0})

    monkeypatch.setattr(inline, "run_trial", run_trial)
    run_trials(run)
    assert started == [run.plan.trials[0].fingerprint]
    assert run.budget_tracker.budget.refusal_reason is not None
