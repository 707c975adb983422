"""The plan without Ray: one trial after the other in this process, for a debugger or a notebook."""

from __future__ import annotations

from sweeper.store import Store
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.study.stage import run_trial
from sweeper.tracking import Tracker, Tracking


def run_inline(
    trials: list[PlannedTrial], plan: Plan, store: Store, tracking: Tracking, display: ProgressDisplay
) -> None:
    """Run every trial here."""
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
