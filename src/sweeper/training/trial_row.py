"""One trial as a row of a table: how it ended, what was measured, and why it failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sweeper.training.failures import Failure
from sweeper.training.record import FAILED, TrialRecord

RowStatus = Literal["PENDING", "RUNNING", "COMPLETE", "DIVERGED", "FAILED", "PRUNED", "UNREADABLE", "NOT_NEEDED"]


@dataclass(frozen=True)
class TrialRow:
    """The state of one trial. Backends return it, searches read it, and the tables of a study consist of it.

    A column of the printed tables that shows a metric or a planned value needs no field here: see
    `sweeper.report.trial_columns`. A new kind of value does, and `to_document` then has it as a JSON key.
    """

    fingerprint: str
    """The trial's identity; empty while it is unknown."""
    status: RowStatus
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Metrics of the record and of the evaluation."""
    failure: Failure | None = None
    """Set if the status is FAILED."""
    out_of_memory_at: tuple[int, ...] = ()
    """Batch sizes that did not fit into memory, of training and of evaluation."""
    requested: Mapping[str, object] = field(default_factory=dict)
    """Settings as specified."""
    applied: Mapping[str, object] = field(default_factory=dict)
    """The same settings, read back from optimizer, trainer and model."""
    data: Mapping[str, object] = field(default_factory=dict)
    """Counts of the data manifest."""
    resumed_from_step: int | None = None
    """Optimizer step of the checkpoint from which an interrupted trial resumed."""
    subsets: Mapping[str, object] | None = None
    """Pass rates by subset, of an evaluation on test queries."""
    planned: Mapping[str, object] = field(default_factory=dict)
    """The trial's columns in the plan (`PlannedTrial.to_row`)."""
    parameters: int | None = None
    """Parameters of the trained model; None before it is trained."""

    @classmethod
    def failed(cls, fingerprint: str, failure: Failure) -> TrialRow:
        """Build the row of a trial that failed before it had a result."""
        return cls(fingerprint, FAILED, failure=failure)

    @classmethod
    def from_record(cls, record: TrialRecord) -> TrialRow:
        """Build the row of a trained trial, before its evaluation."""
        return cls(
            fingerprint=record.fingerprint,
            status=record.status,
            parameters=record.parameters,
            metrics=record.metrics,
            failure=record.failure,
            out_of_memory_at=tuple(record.environment.get("out_of_memory_at", ())),
            requested=record.asked,
            applied=record.applied,
            data=record.data,
            resumed_from_step=record.resumed_from_step,
        )

    @property
    def is_failed(self) -> bool:
        """Whether the trial, or its evaluation, failed."""
        return self.status == FAILED

    def get_metric(self, name: str) -> float:
        """Return a metric, NaN if the trial does not have it."""
        value = self.metrics.get(name)
        return math.nan if value is None else value

    def add_evaluation(self, metrics: Mapping[str, float], out_of_memory_at: Sequence[int] = ()) -> TrialRow:
        """Return the row with the metrics of an evaluation."""
        return replace(
            self,
            metrics={**self.metrics, **metrics},
            out_of_memory_at=(*self.out_of_memory_at, *out_of_memory_at),
        )

    def to_document(self) -> dict[str, object]:
        """Return the row as `status --json` prints it and reports read it. Missing metrics are NaN."""
        metrics = {"pass_rate": math.nan, "val_loss": math.nan, **self.metrics}
        return {
            "fingerprint": self.fingerprint,
            **self.planned,
            **({} if self.parameters is None else {"parameters": self.parameters}),
            "status": self.status,
            "failure": self.failure.model_dump() if self.failure else None,
            "metrics": {name: math.nan if value is None else value for name, value in metrics.items()},
            "asked": self.requested,
            "applied": self.applied,
            "data": self.data,
            "resumed_from_step": self.resumed_from_step,
            **({} if self.subsets is None else {"subsets": self.subsets}),
        }
