"""The plan without Ray: one trial after the other in this process, for a debugger or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sweeper.errors import LostWorkerError
from sweeper.store import Store
from sweeper.study.agenda import Agenda
from sweeper.study.backend import Started
from sweeper.study.plan import Plan
from sweeper.study.progress import ProgressDisplay
from sweeper.study.search import Search
from sweeper.study.stage import run_trial
from sweeper.tracking import Tracker, Tracking
from sweeper.trial import FAILED, failure_of, publish_failure


@contextmanager
def inline_backend() -> Iterator[Started]:
    """A backend without workers: every trial runs here."""
    yield Started(_run, Search)


def _run(agenda: Agenda, plan: Plan, store: Store, tracking: Tracking, display: ProgressDisplay) -> None:
    tracker = Tracker(tracking, plan.sweep.name, store)
    while (trial := agenda.next()) is not None:
        if not agenda.may_start(trial):
            if agenda.proposes:
                return
            continue
        told = partial(display.told, trial.fingerprint)
        try:
            row = run_trial(trial, trial.evaluation, store, tracker, told, pruner=agenda.pruner(trial))
        except LostWorkerError as error:  # a process of its own died, or the storage: the others may fare better
            failure = failure_of(error)
            publish_failure(store, trial.fingerprint, trial.spec.model.name, failure)
            row = {"fingerprint": trial.fingerprint, "status": FAILED, "metrics": {}, "failure": failure.message}
        display.ended(row)
        agenda.ended(row)
