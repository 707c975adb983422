"""The plan without Ray: one trial after the other in this process, for a debugger or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sweeper.errors import LostWorkerError
from sweeper.execution.backends.base import BackendSession
from sweeper.execution.failures import record_failure
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.trial_source import TrialSource
from sweeper.execution.trial_stages import run_trial
from sweeper.planning.plan import Plan
from sweeper.search import SearchSession
from sweeper.storage import Store
from sweeper.tracking import Tracker, TrackerName


@contextmanager
def open_inline_backend() -> Iterator[BackendSession]:
    """A backend without workers: every trial runs here."""
    yield BackendSession(_run_trials, SearchSession)


def _run_trials(
    trial_source: TrialSource, plan: Plan, store: Store, tracking: TrackerName, display: ProgressDisplay
) -> None:
    tracker = Tracker(tracking, plan.sweep.name, store)
    while (trial := trial_source.next_trial()) is not None:
        if not trial_source.reserve_budget(trial):
            if trial_source.proposes_trials:
                return
            continue
        told = partial(display.on_progress, trial.fingerprint)
        try:
            row = run_trial(trial, trial.evaluation, store, tracker, told, pruner=trial_source.get_pruner(trial))
        except LostWorkerError as error:  # a process of its own died, or the storage: the others may fare better
            row = record_failure(trial, store, error)
        display.on_trial_end(row)
        trial_source.on_trial_end(row)
