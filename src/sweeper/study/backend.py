"""What a backend is: something that runs planned trials and tells the display."""

from __future__ import annotations

from typing import Literal, Protocol

from sweeper.store import Store
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.tracking import Tracking

Backend = Literal["ray", "inline"]


class RunTrials(Protocol):
    """A backend: run these trials, tell the display, return when all have a row."""

    def __call__(
        self, trials: list[PlannedTrial], plan: Plan, store: Store, tracking: Tracking, display: ProgressDisplay
    ) -> None:
        """Run the trials."""
