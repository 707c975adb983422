"""A trial's row, built from a record or a failure, and its keys in print."""

from __future__ import annotations

import math
from dataclasses import replace

from sweeper.training import Failure, TrialRecord, TrialRow

FAILURE = Failure(kind="bug", message="KeyError: 'x'", traceback="Traceback")


def test_document_has_the_plan_columns_first_and_nan_for_missing_metrics() -> None:
    row = TrialRow("f", "PENDING", planned={"fingerprint": "f", "model": "opt-125m"})
    document = row.to_document()
    assert list(document) == [
        "fingerprint",
        "model",
        "status",
        "failure",
        "metrics",
        "asked",
        "applied",
        "data",
        "resumed_from_step",
    ]
    metrics = document["metrics"]
    assert isinstance(metrics, dict)
    assert all(math.isnan(metrics[name]) for name in ("pass_rate", "val_loss"))


def test_failed_row_keeps_kind_and_traceback() -> None:
    row = TrialRow.failed("f", FAILURE)
    assert row.is_failed
    assert row.to_document()["failure"] == {"kind": "bug", "message": "KeyError: 'x'", "traceback": "Traceback"}


def test_from_record_takes_settings_metrics_and_batch_sizes() -> None:
    record = TrialRecord(
        fingerprint="f",
        status="COMPLETE",
        model="opt-125m",
        metrics={"val_loss": 1.5, "best_val_loss": None},
        asked={"learning_rate": 1e-4},
        applied={"learning_rate": 2e-4},
        environment={"out_of_memory_at": [8]},
        resumed_from_step=3,
    )
    row = TrialRow.from_record(record)
    assert (row.get_metric("val_loss"), row.out_of_memory_at, row.resumed_from_step) == (1.5, (8,), 3)
    assert math.isnan(row.get_metric("best_val_loss"))
    assert (row.requested, row.applied) == ({"learning_rate": 1e-4}, {"learning_rate": 2e-4})


def test_add_evaluation_joins_metrics_and_batch_sizes() -> None:
    row = TrialRow("f", "COMPLETE", {"val_loss": 1.5}, out_of_memory_at=(8,))
    evaluated = row.add_evaluation({"pass_rate": 0.5}, [4])
    assert evaluated.metrics == {"val_loss": 1.5, "pass_rate": 0.5}
    assert evaluated.out_of_memory_at == (8, 4)


def test_trained_size_replaces_the_planned_one() -> None:
    planned = TrialRow("f", "PENDING", planned={"parameters": 62_400})
    assert planned.to_document()["parameters"] == 62_400
    record = TrialRecord(fingerprint="f", status="COMPLETE", model="m", parameters=57_024)
    row = replace(TrialRow.from_record(record), planned={"parameters": 62_400})
    assert row.to_document()["parameters"] == 57_024
