"""The interface of a backend: start workers, run planned trials on them, and report the end of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Opens a backend."""

    def __call__(self, address: str | None, display: ProgressDisplay) -> AbstractContextManager[BackendSession]:
        """Start the workers; leaving the context stops them.

        Args:
            address: the cluster to use; None starts one here. A backend without a cluster ignores it.
            display: receives messages.
        """


@dataclass(frozen=True)
class SweepSubmission:
    """A sweep as the command line has it."""

    sweep: str
    """Its name or file."""
    storage: str
    """The store as the cluster sees it."""
    overrides: Sequence[str] = ()
    """Texts of `--set`."""
    options: Sequence[str] = ()
    """Further options of `sweeper run`."""


def _submit_nothing(submission: SweepSubmission, address: str) -> int | None:
    return None


def _keep_address(address: str) -> str:
    return address


@dataclass(frozen=True)
class Backend:
    """What every backend's file defines as `BACKEND`."""

    open: OpenBackend
    submit: Callable[[SweepSubmission, str], int | None] = _submit_nothing
    """Sends a sweep to the cluster at an address, and returns the exit code of its job there; None where the driver
    runs in this process."""
    resolve_address: Callable[[str], str] = _keep_address
    """Prepares this process for the cluster at a value of `--address`, and returns the address for `open`."""


BACKENDS: Registry[Backend] = Registry("backend", "execution/backends", "BACKEND")
