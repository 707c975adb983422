"""A trial's record: how it ended, its metrics, and its requested and applied settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.errors import StoreError
from sweeper.storage import JsonObject, Store, check_files, read_json
from sweeper.training.failures import Failure

TrialStatus = Literal["COMPLETE", "DIVERGED", "FAILED", "PRUNED"]
COMPLETE: Literal["COMPLETE"] = "COMPLETE"
DIVERGED: Literal["DIVERGED"] = "DIVERGED"
FAILED: Literal["FAILED"] = "FAILED"
PRUNED: Literal["PRUNED"] = "PRUNED"


class TrialRecord(BaseModel):
    """Content of record.json. A trial without this file is not finished."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    """The trial's identity."""
    status: TrialStatus
    """How it ended. DIVERGED is a result, FAILED is not; PRUNED was stopped at a rung by a search."""
    model: str
    """Name of the model."""
    parameters: int | None = None
    """Trainable parameters."""
    metrics: dict[str, float | None] = {}
    """val_loss, best_val_loss and train_loss (nats per target token), steps, tokens, train_flops and train_seconds, all
    of the whole schedule. A branch also has `branched_from_step`, and `own_train_seconds`: its time after that step."""
    asked: JsonObject = {}
    """Requested settings, from the specification."""
    applied: JsonObject = {}
    """Applied settings: the same, read back from optimizer, trainer and model."""
    data: JsonObject = {}
    """The manifest of the data: examples kept, truncated and dropped with reasons."""
    failure: Failure | None = None
    """Set when the status is FAILED."""
    resumed_from_step: int | None = None
    """Optimizer step of the checkpoint that an interrupted trial resumed from."""
    files: dict[str, tuple[int, str]] = {}
    """`history.parquet` and the files of `model/` -> size in bytes and SHA-256. Empty in records of version 0.1.0."""
    environment: JsonObject = {}
    """Versions, device and host name where it ran, workers and micro-batch; `logits_of`: "targets", or "all" for an
    architecture whose loss is not patched; `out_of_memory_at`: micro-batches that did not fit."""


def read_record(path: Path) -> TrialRecord | None:
    """Read the record at `path`; None where there is none.

    Raises:
        StoreError: the file is not the record of the trial whose folder it is in.
    """
    if not path.exists():
        return None
    hint = "delete it and run again"
    try:
        record = TrialRecord.model_validate(read_json(path))
    except ValidationError as error:
        raise StoreError(str(path), found=f"not a trial record: {error}", hint=hint) from error
    if record.fingerprint != path.parent.name:
        raise StoreError(str(path), found=f"the record of another trial, {record.fingerprint}", hint=hint)
    return record


def check_trial_files(store: Store, fingerprint: str, prefix: str) -> None:
    """Check files of a finished trial against its record. A trial without a record has nothing to check.

    Args:
        store: the store, with the files here.
        fingerprint: of the trial.
        prefix: `history.parquet`, or `model/`.

    Raises:
        StoreError: a file is missing, or differs from what was written.
    """
    if record := read_record(store.record_path(fingerprint)):
        check_files(store.trial_folder(fingerprint), record.files, prefix)


def read_status(path: Path) -> str | None:
    """Read the status alone; None where there is no record.

    Validating all of ten thousand records would take most of a plan's time.

    Raises:
        StoreError: the file is not a trial record.
    """
    if not path.exists():
        return None
    record = read_json(path)
    status = record.get("status")
    if status not in (COMPLETE, DIVERGED, FAILED, PRUNED):
        raise StoreError(str(path), found="not a trial record", hint="delete it and run again")
    if record.get("fingerprint") != path.parent.name:
        found = f"the record of another trial, {record.get('fingerprint')}"
        raise StoreError(str(path), found=found, hint="delete it and run again")
    return str(status)


def publish_failure(store: Store, fingerprint: str, model: str, failure: Failure) -> None:
    """Write a FAILED record, unless the trial has already finished: a later problem discards no finished training."""
    path = store.record_path(fingerprint)
    before = read_record(path)
    if before is None or before.status in (FAILED, PRUNED):  # a pruned trial may be trained to its end
        record = TrialRecord(fingerprint=fingerprint, status=FAILED, model=model, failure=failure)
        store.publish(path, record.model_dump(mode="json"))
