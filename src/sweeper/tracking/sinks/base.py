"""The interface of a sink, which receives the numbers of one trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sweeper.storage import Store

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial
    from sweeper.training import TrainingProgress, TrialRecord, TrialRow


class MetricSink(Protocol):
    """Receives the numbers of one trial. If it raises, it is closed, and the trial continues."""

    def log(self, progress: TrainingProgress) -> None:
        """Record the numbers of one logged step."""

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """Record how the trial ended."""

    def close(self) -> None:
        """Release resources, however the trial ended."""


SinkFactory = Callable[[str, Store, "PlannedTrial"], MetricSink | None]
"""`open_sink(study, store, trial)` of a file of this folder; None records nothing."""
