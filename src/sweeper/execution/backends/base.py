"""What a backend is: something that starts workers, runs planned trials on them, and tells the display."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from sweeper.config import Sweep
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.trial_source import SearchClient, TrialSource
from sweeper.planning.plan import Plan
from sweeper.storage import Store
from sweeper.tracking import TrackerName

BackendName = Literal["ray", "inline"]


class TrialRunner(Protocol):
    """Run the trials of an agenda, tell it and the display of each end, return when there are none left."""

    def __call__(
        self, trial_source: TrialSource, plan: Plan, store: Store, tracking: TrackerName, display: ProgressDisplay
    ) -> None:
        """Run the trials."""


@dataclass(frozen=True)
class BackendSession:
    """A backend whose workers are there."""

    run_trials: TrialRunner
    open_search: Callable[[Sweep, Path], SearchClient]
    """Opens the search of a sweep, whose storage lies in that folder, where all workers can ask it."""


BackendContext = AbstractContextManager[BackendSession]
"""A backend's door: entering it starts its workers, leaving it ends them."""
