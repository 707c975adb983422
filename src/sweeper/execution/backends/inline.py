"""The backend `inline`: one trial after the other in this process, without Ray, for debuggers and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sweeper.errors import LostWorkerError, UsageError
from sweeper.execution.backends.base import Backend, BackendSession, SweepSubmission
from sweeper.execution.failures import record_failure
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.run_context import RunContext
from sweeper.execution.trial_source import TrialSource
from sweeper.execution.trial_stages import run_trial
from sweeper.search import SearchSession


@contextmanager
def open_backend(address: str | None, display: ProgressDisplay) -> Iterator[BackendSession]:
    """Open a backend without workers: every trial runs in this process."""
    yield BackendSession(_run_trials, SearchSession)


def _run_trials(trial_source: TrialSource, run: RunContext) -> None:
    while (trial := trial_source.next_trial()) is not None:
        if not trial_source.reserve_budget(trial):
            if trial_source.proposes_trials:
                return
            continue
        on_progress = partial(run.display.on_progress, trial.fingerprint)
        try:
            row = run_trial(trial, run.tracker, on_progress, pruner=trial_source.get_pruner(trial))
        except LostWorkerError as error:  # a worker process or the storage is gone: other trials may still succeed
            row = record_failure(trial, run.store, error)
        run.display.on_trial_end(row)
        trial_source.on_trial_end(row)


def refuse_address(submission: SweepSubmission, address: str) -> None:
    """Refuse any cluster.

    Raises:
        UsageError: always.
    """
    found = "--backend inline, which runs trials in this process"
    raise UsageError("--address", requested=address, found=found, hint="leave out --address, or use --backend ray")


BACKEND = Backend(open_backend, refuse_address)
