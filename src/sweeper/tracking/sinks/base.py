"""The interface of a sink, which receives the numbers of one trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


def _find_no_outage() -> str:
    return ""


@dataclass(frozen=True)
class SinkType:
    """What a tracker can do."""

    open: Callable[[str, Store, PlannedTrial, bool], MetricSink | None]
    """(study, store, trial, whether its server cannot be reached) -> the sink of a trial; None records nothing."""
    find_outage: Callable[[], str] = _find_no_outage
    """Ask its server; the sentence that says why it cannot be reached and what happens instead, or an empty one."""
