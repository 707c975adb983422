"""A trial's record on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.errors import StoreError
from sweeper.storage import Store
from sweeper.training import Failure, TrialRecord, TrialStatus, publish_failure, read_record, read_status

FAILURE = Failure(kind="bug", message="KeyError: 'x'", traceback="t")


def write_record(store: Store, status: TrialStatus) -> TrialRecord:
    record = TrialRecord(fingerprint="f", status=status, model="m", metrics={"val_loss": 1.5})
    store.publish(store.record_path("f"), record.model_dump(mode="json"))
    return record


def test_read_record_restores_what_was_published(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_record(store.record_path("f")) is read_status(store.record_path("f")) is None
    record = write_record(store, "DIVERGED")
    assert read_record(store.record_path("f")) == record
    assert read_status(store.record_path("f")) == "DIVERGED"


@pytest.mark.parametrize("document", [{}, {"status": "FINISHED"}, [1], {"status": "COMPLETE!"}])
def test_read_record_and_read_status_refuse_another_document(tmp_path: Path, document: object) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(document))
    for read in (read_record, read_status):
        with pytest.raises(StoreError, match=r"not a (trial record|JSON object)"):
            read(path)


@pytest.mark.parametrize(("status", "kept"), [("COMPLETE", True), ("DIVERGED", True), ("PRUNED", False)])
def test_publish_failure_replaces_no_finished_training(tmp_path: Path, status: TrialStatus, kept: bool) -> None:
    store = Store(tmp_path)
    before = write_record(store, status)
    publish_failure(store, "f", "m", FAILURE)
    after = read_record(store.record_path("f"))
    assert after is not None
    assert (after == before) is kept
    assert kept or (after.status, after.failure) == ("FAILED", FAILURE)
