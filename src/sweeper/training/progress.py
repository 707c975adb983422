"""What a training run reports while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True)
class TrainingProgress:
    """The latest numbers of one training run. A number that was not measured at this step is None.

    Example:
        >>> TrainingProgress(step=3, total_steps=9, loss=2.5).to_document()
        {'step': 3.0, 'steps': 9.0, 'loss': 2.5}
    """

    step: int
    """Optimizer steps taken."""
    total_steps: int
    """Optimizer steps of the whole run."""
    loss: float | None = None
    """Training loss, nats per target token."""
    val_loss: float | None = None
    """Validation loss, nats per target token."""
    grad_norm: float | None = None
    """Global L2 norm of the gradients, before clipping."""
    learning_rate: float | None = None
    """Learning rate of the last step."""
    tokens_per_second: float | None = None
    """Training throughput since the previous report."""
    gpu_memory_bytes: float | None = None
    """Peak GPU memory allocated since the run began."""

    def to_document(self) -> dict[str, float]:
        """Return the measured numbers under the names that metrics and logs use."""
        values = {_DOCUMENT_KEYS.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        return {key: float(value) for key, value in values.items() if value is not None}

    @classmethod
    def from_document(cls, document: Mapping[str, float]) -> TrainingProgress:
        """Rebuild a report from `to_document`."""
        optional = {field.name: document.get(field.name) for field in fields(cls)[2:]}
        return cls(int(document["step"]), int(document["steps"]), **optional)


@dataclass(frozen=True)
class TrialProgress:
    """What a trial is doing, with the latest numbers of its training."""

    stage: TrialStage
    training: TrainingProgress | None = None
    reason: str = ""
    """Why it waits."""


TrialStage = Literal["training", "evaluating", "waiting for storage"]
TrialProgressListener = Callable[[TrialProgress], None]
"""Receives each report of a trial."""
_DOCUMENT_KEYS = {"total_steps": "steps"}
ProgressListener = Callable[[TrainingProgress], None]
"""Receives each report of a training run."""
