"""Context of one run: the plan, the store, and the tracker, display and budget of its trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sweeper.execution.budget_tracker import BudgetTracker
from sweeper.execution.progress import ProgressDisplay
from sweeper.planning.plan import Plan
from sweeper.storage import Store
from sweeper.tracking import Tracker, TrackerName


@dataclass(frozen=True)
class RunContext:
    """One run of a study, from its lock to its end."""

    plan: Plan
    """The plan as it was when the run started."""
    store: Store
    tracker: Tracker
    display: ProgressDisplay
    budget_tracker: BudgetTracker

    @classmethod
    def start(cls, plan: Plan, store: Store, tracking: TrackerName, display: ProgressDisplay) -> RunContext:
        """Build the context of a run that starts now; the usage of earlier runs is read from the store."""
        tracker = Tracker(tracking, plan.sweep.name, store)
        return cls(plan, store, tracker, display, BudgetTracker(plan.sweep, store))

    def check_tracker(self) -> RunContext:
        """Ask the tracker's server before trials start, and print why it cannot be reached."""
        tracker = self.tracker.check_server()
        if tracker.outage:
            self.display.print_line(tracker.outage)
        return replace(self, tracker=tracker)
