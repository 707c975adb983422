"""A failed trial has one record and one row, which name the same kind of failure."""

from __future__ import annotations

from pathlib import Path

from sweeper.config import find_sweep, load_sweep
from sweeper.errors import DataError
from sweeper.execution.failures import record_failure
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.training import read_record


def test_record_failure_publishes_the_failure_of_its_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trial = plan_sweep(load_sweep(find_sweep("quickstart"), ["claims=[]"]), store).trials[0]
    row = record_failure(trial, store, DataError("a file", found="broken"))
    record = read_record(store.record_path(trial.fingerprint))
    assert record is not None
    assert (row.status, row.failure) == ("FAILED", record.failure)
    assert row.failure is not None
    assert row.failure.kind == "bad-input"
