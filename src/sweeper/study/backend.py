"""What a backend is: something that starts workers, runs planned trials on them, and tells the display."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from sweeper.spec import Sweep
from sweeper.store import Store
from sweeper.study.agenda import Agenda, Asked
from sweeper.study.plan import Plan
from sweeper.study.progress import ProgressDisplay
from sweeper.tracking import Tracking

Backend = Literal["ray", "inline"]


class RunTrials(Protocol):
    """Run the trials of an agenda, tell it and the display of each end, return when there are none left."""

    def __call__(self, agenda: Agenda, plan: Plan, store: Store, tracking: Tracking, display: ProgressDisplay) -> None:
        """Run the trials."""


@dataclass(frozen=True)
class Started:
    """A backend whose workers are there."""

    run: RunTrials
    search: Callable[[Sweep, Path], Asked]
    """Opens the search of a sweep, whose storage lies in that folder, where all workers can ask it."""


Workers = AbstractContextManager[Started]
"""A backend's door: entering it starts its workers, leaving it ends them."""
