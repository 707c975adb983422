"""Background preparation and audit of data: once per data set, cancelled with the run, repeated if it failed."""

from __future__ import annotations

import io
from pathlib import Path
from threading import Event

import pytest
from rich.console import Console
from small_studies import load_small_sweep, run_inline

from sweeper import data
from sweeper.config import DataSpec
from sweeper.errors import DataError
from sweeper.execution.backends import inline
from sweeper.execution.data_preparation import audit_contamination, prepare_in_background
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.run_context import RunContext
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study
from sweeper.storage import Store
from sweeper.training import read_record


def test_interrupted_run_cancels_its_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = Event(), Event()

    def audit_forever(*_: object, on_progress: data.FractionReporter) -> None:
        started.set()
        try:
            while True:
                on_progress(0.5)
        finally:
            ended.set()

    def interrupt(*_: object) -> None:
        assert started.wait(60), "the audit runs while trials do"
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "audit_contamination", audit_forever)
    monkeypatch.setattr(inline, "_run_trials", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_inline(plan_sweep(load_small_sweep("axes.seed=[0]")), Store(tmp_path))
    assert ended.is_set()


@pytest.mark.slow
def test_failed_audit_leaves_trials_finished_and_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = plan_sweep(load_small_sweep("axes.seed=[0]")), Store(tmp_path)

    def fail(*_: object, on_progress: data.FractionReporter) -> None:
        raise DataError("audit", found="planted")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="planted"):
        patch.setattr(data, "audit_contamination", fail)
        run_inline(plan, store)
    assert [row.status for row in collect_study(plan, store).trials] == ["COMPLETE"]
    assert "train/test contamination: " in run_inline(plan, store)
    assert "train/test contamination: " not in run_inline(plan, store), "once"


def start_run(store: Store, *overrides: str) -> tuple[RunContext, io.StringIO]:
    plan, output = plan_sweep(load_small_sweep(*overrides)), io.StringIO()
    display = ProgressDisplay(Console(file=output, width=200))
    display.start_study(plan, plan.trials, store)
    return RunContext.start(plan, store, "none", display), output


def test_prepare_in_background_fails_the_trials_of_unusable_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    run, output = start_run(store, "axes.seed=[0,1]")

    def fail(*_: object) -> None:
        raise DataError("data", found="damaged")

    monkeypatch.setattr(data, "prepare_data", fail)
    with prepare_in_background(run, run.plan.trials) as background:
        assert background.wait_for_trials() == []
        background.wait_for_audit()
    background.raise_audit_failure()
    assert output.getvalue().count("damaged") == 2
    records = [read_record(store.record_path(trial.fingerprint)) for trial in run.plan.trials]
    assert [record.status for record in records if record] == ["FAILED", "FAILED"]


def test_prepare_in_background_prepares_equal_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = start_run(Store(tmp_path), "axes.seed=[0,1]", "evaluation=null")
    prepared: list[str] = []

    def prepare(spec: DataSpec, *_: object) -> None:
        prepared.append(spec.name)

    monkeypatch.setattr(data, "prepare_data", prepare)
    monkeypatch.setattr(data, "describe_prepared_data", lambda _: "prepared")
    with prepare_in_background(run, run.plan.trials) as background:
        assert background.wait_for_trials() == list(run.plan.trials)
    assert prepared == ["toolworld"]


def test_audit_contamination_runs_once_for_the_same_inputs(tmp_path: Path) -> None:
    run, output = start_run(Store(tmp_path), "axes.seed=[0]")
    for _ in range(2):
        audit_contamination(run, run.plan.trials, lambda share: None)
    assert output.getvalue().count("train/test contamination: ") == 1
    assert " of 6 test queries leak" in output.getvalue()
