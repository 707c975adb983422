"""The interface of a backend: start workers, run planned trials on them, and report the end of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweeper.config import Sweep
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.run_context import RunContext
from sweeper.execution.trial_source import SearchClient, TrialSource
from sweeper.registry import Registry


class TrialRunner(Protocol):
    """Runs trials."""

    def __call__(self, trial_source: TrialSource, run: RunContext) -> None:
        """Run trials until the source has none left, and report each end to the source and to the display."""


@dataclass(frozen=True)
class BackendSession:
    """A backend whose workers are running."""

    run_trials: TrialRunner
    open_search: Callable[[Sweep, Path], SearchClient]
    """Opens the search of a sweep, given the folder of its storage, so that all workers can reach it."""


class OpenBackend(Protocol):
    """What every backend defines as `open_backend`."""

    def __call__(self, address: str | None, display: ProgressDisplay) -> AbstractContextManager[BackendSession]:
        """Start the workers; leaving the context stops them.

        Args:
            address: the cluster to use; None starts one here. A backend without a cluster ignores it.
            display: receives messages.
        """


BACKENDS: Registry[OpenBackend] = Registry("backend", "execution/backends", "open_backend")
