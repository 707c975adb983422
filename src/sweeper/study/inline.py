"""The plan without Ray: one trial after the other in this process, for a debugger or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.store import Store
from sweeper.study.backend import RunTrials
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.study.stage import run_trial
from sweeper.tracking import Tracker, Tracking


@contextmanager
def inline_backend() -> Iterator[RunTrials]:
    """A backend without workers: every trial runs here."""
    yield _run


def _run(trials: list[PlannedTrial], plan: Plan, store: Store, tracking: Tracking, display: ProgressDisplay) -> None:
    tracker = Tracker(tracking, plan.sweep.name, store)
    for trial in trials:
        row = run_trial(
            trial,
            plan.sweep.evaluation,
            store,
            tracker,
            lambda p, t=trial: display.told(t.fingerprint, p),  # type: ignore[misc]
        )
        display.ended(row)
