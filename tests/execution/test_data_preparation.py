"""Background preparation and audit of data: cancelled with the run, repeated if it failed."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
from small_studies import load_small_sweep, run_inline

from sweeper import data
from sweeper.errors import DataError
from sweeper.execution.backends import inline
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study
from sweeper.storage import Store


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
