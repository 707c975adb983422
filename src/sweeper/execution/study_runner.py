"""Run a plan on a backend: reuse finished trials, continue interrupted ones, start the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sweeper.config import Sweep
from sweeper.errors import BudgetReachedError, TrialsFailedError, UsageError
from sweeper.execution.backends.base import BACKENDS, BackendSession
from sweeper.execution.data_preparation import BackgroundData, audit_contamination, prepare_in_background
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.run_context import RunContext
from sweeper.execution.search_loop import is_search_complete, is_unrunnable, plan_search_data, run_search
from sweeper.execution.storage_watch import watch_storage
from sweeper.execution.study_files import start_run, write_plan
from sweeper.execution.study_identity import check_study_identity
from sweeper.execution.trial_source import FixedTrials
from sweeper.planning.branching import delete_unneeded_branch_checkpoints, split_into_batches
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study, is_finished, pull_records
from sweeper.storage import LockHeldError, Store
from sweeper.storage.availability import mark_store
from sweeper.tracking import TrackerName


@dataclass(frozen=True)
class _Work:
    """Unfinished parts of a plan."""

    trials: list[PlannedTrial]
    """Known trials that are not finished, and that the study needs as its results are now."""
    later_trials: list[PlannedTrial]
    """Known trials that open claims may need at a later look."""
    searches: list[Sweep]
    """All sweeps of the plan with a search."""
    open_searches: list[Sweep]
    """Sweeps whose search has not ended."""

    @property
    def is_empty(self) -> bool:
        return not self.trials and not self.open_searches


def run_study(
    plan: Plan,
    store: Store,
    *,
    backend: str,
    address: str | None,
    tracking: TrackerName,
    display: ProgressDisplay,
) -> Plan:
    """Run all unfinished trials of a plan. Running again resumes it.

    Args:
        plan: a plan without problems.
        store: where records, checkpoints and the study's files go.
        backend: a file of `execution/backends`: `ray` or `inline`.
        address: the cluster of the backend; None starts one here.
        tracking: where metrics of trials are logged besides the store.
        display: receives progress and messages.

    Returns:
        The plan at the end of the run, with the trials that a search proposed.

    Raises:
        UsageError: the plan has problems, the backend is unknown, the study of this name has results of another sweep,
            or another run of it is in progress.
        BudgetReachedError: the budget ended the run.
        TrialsFailedError: a trial failed.
        KeyboardInterrupt: workers were stopped first; the study can be resumed.
    """
    opener = BACKENDS.load(backend).open
    if plan.problems:
        hint = "fix these problems; nothing was started"
        raise UsageError(f"sweep {plan.sweep.name}", found="\n".join(plan.problems), hint=hint)
    store = mark_store(store)
    with _lock_study(plan, store):
        pull_records(plan, store)
        check_study_identity(plan.sweep, store)
        for claim in start_run(plan, store, backend):
            if claim.finished:
                counts = f"{claim.finished:,} of {claim.planned:,} trials had finished"
                display.print_line(f"claim {claim.id}: added or changed after {counts}; the report lists it apart")
        work = _find_work(plan, store)
        display.start_study(plan, work.trials, store, n_waiting=len(work.later_trials))
        run = RunContext.start(plan, store, tracking, display)
        background = None
        if not work.is_empty:
            run = run.check_tracker()
            with watch_storage(store, display.print_line):
                background = _run_work(run, work, opener(address, display))
            plan = _close_run(run, work)
        _raise_if_incomplete(plan, run, [sweep for sweep in work.searches if not is_search_complete(sweep, store)])
        if background:
            background.raise_audit_failure()
        else:  # all trials had finished before: perhaps in another study, or before their audit
            audit_contamination(run, plan.trials, display.on_audit_progress)
        return plan


@contextmanager
def _lock_study(plan: Plan, store: Store) -> Iterator[None]:
    folder = store.study_folder(plan.sweep.name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = store.lock_folder(folder, timeout=0)
        with lock:
            yield
    except LockHeldError as error:
        raise UsageError(
            f"study {plan.sweep.name}",
            found=f"another run of this study is in progress in {store.location}",
            hint="`sweeper status` shows it; wait for its end, or use another --storage or --set name=NAME",
        ) from error


def _find_work(plan: Plan, store: Store) -> _Work:
    unfinished = [trial for trial in plan.trials if not is_finished(trial, store)]
    needed = _find_needed(plan, store)
    searches = [part.sweep for part in (plan, *plan.parts) if part.sweep.search]
    return _Work(
        [trial for trial in unfinished if trial.key in needed],
        [trial for trial in unfinished if trial.key not in needed],
        searches,
        [sweep for sweep in searches if not is_search_complete(sweep, store)],
    )


def _find_needed(plan: Plan, store: Store) -> set[str]:
    """Return the keys of the trials that the study needs as its results are now."""
    if plan.sweep.until == "complete":
        return {trial.key for trial in plan.trials}
    needed = collect_study(plan, store).needed
    return {trial.key for trial in plan.trials if trial.fingerprint in needed}


def _run_work(run: RunContext, work: _Work, backend: AbstractContextManager[BackendSession]) -> BackgroundData:
    """Run the known trials, then the searches, while data are prepared and audited in the background."""
    trials = [*work.trials, *work.later_trials]
    with prepare_in_background(run, [*trials, *plan_search_data(work.open_searches, run.store)]) as background:
        with backend as session:
            ready = {trial.key for trial in background.wait_for_trials()}
            known = [trial for trial in trials if trial.key in ready and trial.role in ("", "confirm")]
            for looked_at in _iterate_looks(run, work, known):
                for batch in split_into_batches(looked_at):
                    session.run_trials(FixedTrials(batch, run.budget_tracker), run)
            for sweep in work.searches:
                run_search(sweep, run, session)
        background.wait_for_audit()
    return background


def _iterate_looks(run: RunContext, work: _Work, known: list[PlannedTrial]) -> Iterator[list[PlannedTrial]]:
    """Yield the trials of each look in turn, until no open claim needs more; without `until: decided` all at once."""
    needed, tried = {trial.key for trial in work.trials}, set[str]()
    while trials := [trial for trial in known if trial.key in needed and trial.key not in tried]:
        yield trials
        tried |= {trial.key for trial in trials}
        if run.plan.sweep.until == "complete" or run.budget_tracker.budget.refusal_reason:
            return
        needed = _find_needed(run.plan, run.store)
        n_failed = sum(trial.key in needed & tried and not is_finished(trial, run.store) for trial in known)
        run.display.add_look([trial for trial in known if trial.key in needed - tried], n_failed)


def _close_run(run: RunContext, work: _Work) -> Plan:
    """Save the usage, and return the plan with the trials that a search proposed."""
    run.budget_tracker.close()
    pull_records(run.plan, run.store)
    plan = run.plan
    if work.searches:
        plan = plan_sweep(plan.sweep, run.store)
        write_plan(plan, run.store)
    delete_unneeded_branch_checkpoints(plan.trials, run.store)
    return plan


def _raise_if_incomplete(plan: Plan, run: RunContext, open_searches: list[Sweep]) -> None:
    needed = _find_needed(plan, run.store)
    left = [
        trial
        for trial in plan.trials
        if trial.key in needed and not is_finished(trial, run.store) and not is_unrunnable(trial, run.store)
    ]
    if reason := run.budget_tracker.budget.refusal_reason:
        raise BudgetReachedError(
            f"study {plan.sweep.name}",
            requested=f"{len(plan.trials) + len(plan.placeholders)} trials",
            found=f"{reason}; {len(left) + len(plan.placeholders)} trials are unfinished",
            hint="finished trials are saved; raise the limit with --set budget.…=N and run again to resume",
        )
    if left or open_searches:
        failed = ", ".join(trial.fingerprint for trial in left)
        raise TrialsFailedError(
            f"study {plan.sweep.name}",
            requested=f"{len(plan.trials)} trials",
            found=f"{len(left)} failed: {failed}" if left else "the search stopped before its end",
            hint="`sweeper status` shows why; run again to retry them",
        )
