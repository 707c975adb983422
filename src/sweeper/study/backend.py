"""What a backend is: something that starts workers, runs planned trials on them, and tells the display."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from sweeper.store import Store
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.tracking import Tracking

Backend = Literal["ray", "inline"]


class RunTrials(Protocol):
    """Run these trials, tell the display, return when all have a row."""

    def __call__(
        self, trials: list[PlannedTrial], plan: Plan, store: Store, tracking: Tracking, display: ProgressDisplay
    ) -> None:
        """Run the trials."""


Workers = AbstractContextManager[RunTrials]
"""A backend's door: entering it starts its workers, leaving it ends them."""
