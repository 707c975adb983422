"""The two stages of a trial: failed evaluations leave the training as it is, storage that is away is waited for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_studies import load_small_sweep, run_inline

from sweeper.errors import DataError, StorageUnavailableError, TrialsFailedError
from sweeper.execution import trial_stages
from sweeper.execution.trial_stages import run_trial
from sweeper.planning.plan import PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study, is_finished
from sweeper.storage import Store, read_json
from sweeper.tracking import Tracker
from sweeper.training import ProgressListener, TrainingProgress, TrialJob, TrialProgress, TrialRecord


@pytest.mark.slow
def test_run_trial_keeps_the_training_of_a_failed_evaluation(tmp_path: Path) -> None:
    plan, store = plan_sweep(load_small_sweep("axes.seed=[0]")), Store(tmp_path)
    (trial,) = plan.trials
    assert "pass rate" in run_inline(plan, store)
    shutil.rmtree(store.trial_folder(trial.fingerprint) / "evaluation")
    weights = store.trial_folder(trial.fingerprint) / "model" / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(b"broken")
    with pytest.raises(TrialsFailedError, match=trial.fingerprint):
        run_inline(plan, store)
    (row,) = collect_study(plan, store).trials
    assert row.failure is not None
    assert row.status == "FAILED"
    assert "Traceback" in row.failure.traceback
    assert row.get_metric("val_loss") > 0
    before = store.record_path(trial.fingerprint).read_bytes()
    weights.write_bytes(kept)
    run_inline(plan, store)
    assert collect_study(plan, store).trials[0].status == "COMPLETE"
    assert store.record_path(trial.fingerprint).read_bytes() == before


def make_trial(store: Store, *overrides: str) -> PlannedTrial:
    return plan_sweep(load_small_sweep("axes.seed=[0]", *overrides), store).trials[0]


def ignore_progress(progress: TrialProgress) -> None:
    pass


def test_run_trial_reports_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    trial = make_trial(store)
    record = TrialRecord(fingerprint=trial.fingerprint, status="COMPLETE", model="m", metrics={"val_loss": 1.0})

    def train(job: TrialJob, prepare: object, store: Store, on_progress: ProgressListener, *_: object) -> TrialRecord:
        on_progress(TrainingProgress(1, 2))
        return record

    def fail_evaluation(*_: object, **__: object) -> None:
        raise DataError("suite", found="damaged")

    monkeypatch.setattr(trial_stages, "train_trial", train)
    monkeypatch.setattr(trial_stages, "evaluate_trial", fail_evaluation)
    reports: list[TrialProgress] = []
    row = run_trial(trial, Tracker("none", "quickstart", store), reports.append)
    assert [report.stage for report in reports] == ["training", "evaluating"]
    assert (row.status, row.metrics["val_loss"]) == ("FAILED", 1.0)
    assert row.failure is not None
    assert row.failure.message.startswith("evaluation: ")
    assert run_trial(trial, Tracker("none", "quickstart", store), ignore_progress, evaluate=False).status == "COMPLETE"


def test_run_trial_resumes_once_its_storage_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    trial = make_trial(store, "evaluation=null")
    attempts: list[str] = []

    def train(*_: object) -> TrialRecord:
        attempts.append("training")
        if len(attempts) == 1:
            raise StorageUnavailableError(store.location, found="unmounted")
        return TrialRecord(fingerprint=trial.fingerprint, status="COMPLETE", model="m")

    monkeypatch.setattr(trial_stages, "train_trial", train)
    reports: list[TrialProgress] = []
    assert run_trial(trial, Tracker("none", "quickstart", store), reports.append).status == "COMPLETE"
    assert [report.stage for report in reports] == ["waiting for storage"]
    assert len(attempts) == 2


def test_run_trial_raises_errors_that_are_no_storage_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def train(*_: object) -> TrialRecord:
        raise FileNotFoundError("a file of the data")

    monkeypatch.setattr(trial_stages, "train_trial", train)
    with pytest.raises(FileNotFoundError):
        run_trial(make_trial(store, "evaluation=null"), Tracker("none", "quickstart", store), ignore_progress)


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_a_result(tmp_path: Path) -> None:
    """Training diverged: the trial passes nothing, and neither fails nor is evaluated again."""
    sweep = load_small_sweep("axes.seed=[0]", "recipe.learning_rate=1e30", "recipe.max_grad_norm=null")
    plan, store = plan_sweep(sweep), Store(tmp_path)
    run_inline(plan, store)
    (row,) = collect_study(plan, store).trials
    assert row.status == "DIVERGED" and row.failure is None
    (trial,) = plan.trials
    (failure,) = store.trial_folder(trial.fingerprint).glob("evaluation/*/failure.json")
    assert read_json(failure)["kind"] == "diverged"
    assert is_finished(trial, store)
    before = failure.stat().st_mtime_ns
    run_inline(plan, store)
    assert failure.stat().st_mtime_ns == before
