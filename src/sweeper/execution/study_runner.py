"""Run a plan on a backend: reuse what is finished, continue what was cut off, start the rest."""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from sweeper import __version__, data
from sweeper.config import Sweep, write_yaml
from sweeper.data import FractionReporter
from sweeper.errors import BudgetReachedError, SweeperError, TrialsFailedError, UsageError
from sweeper.evaluation import compute_suite_fingerprint, load_evaluation_suite
from sweeper.execution.backends.base import BackendContext, BackendName
from sweeper.execution.budget_tracker import BudgetTracker
from sweeper.execution.failures import record_failure
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.search_loop import datasets_of_searches, is_search_complete, is_unrunnable, run_search
from sweeper.execution.trial_source import FixedTrials
from sweeper.planning.branching import delete_unneeded_branch_checkpoints, dependency_batches
from sweeper.planning.estimate import restore_first_estimates
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import CONTAMINATION_FILE, is_finished, pull_records
from sweeper.storage import LockHeldError, Store, read_json, write_json
from sweeper.storage.availability import mark_store
from sweeper.tracking import TrackerName


def run_study(
    plan: Plan,
    store: Store,
    *,
    backend: BackendName,
    address: str | None,
    tracking: TrackerName,
    display: ProgressDisplay,
) -> Plan:
    """Run all trials of a plan that are not finished. Running again is how one resumes. Returns the plan as it is in
    the end, with the trials that a search proposed.

    Raises UsageError for a plan with problems, TrialsFailedError when a trial failed; KeyboardInterrupt passes
    through after workers were stopped, and the study can go on from disk.
    """
    if plan.problems:
        raise UsageError(
            f"sweep {plan.sweep.name}", found="\n".join(plan.problems), hint="mend these; nothing was started"
        )
    folder = store.study_folder(plan.sweep.name)
    folder.mkdir(parents=True, exist_ok=True)
    store = mark_store(store)
    try:
        with store.lock_folder(folder, timeout=0):
            return _run_locked(plan, store, backend, address, tracking, display)
    except LockHeldError as error:
        raise UsageError(
            f"study {plan.sweep.name}",
            found=f"another run of it is going on in {store.location}",
            hint="`sweeper status` shows it; wait for its end, or give another --storage or --set name=NAME",
        ) from error


def _run_locked(
    plan: Plan, store: Store, backend: BackendName, address: str | None, tracking: TrackerName, display: ProgressDisplay
) -> Plan:
    _write_study(plan, store, backend)
    pull_records(plan, store)
    todo = [trial for trial in plan.trials if not is_finished(trial, store)]
    searches = [part.sweep for part in (plan, *plan.parts) if part.sweep.search]
    looking = [sweep for sweep in searches if not is_search_complete(sweep, store)]
    display.start_study(plan, todo, store)
    purse, auditing = BudgetTracker(plan.sweep, store), None
    if todo or looking:
        # Data is prepared while the workers start, and audited while the first trials train: none needs the other.
        with _background_preparation() as (aside, tell):
            wanted = [*todo, *datasets_of_searches(looking, store)]
            preparing = aside.submit(_prepare_data, plan, wanted, store, display, tell(display.on_preparation_progress))
            auditing = aside.submit(
                _audit_when_prepared, plan, preparing, store, display, tell(display.on_audit_progress)
            )
            with _open_backend(backend, address, display) as started:
                ready = {trial.key for trial in preparing.result()}
                listed = [trial for trial in todo if trial.key in ready and trial.role in ("", "confirm")]
                for wave in dependency_batches(listed):
                    started.run_trials(FixedTrials(wave, purse), plan, store, tracking, display)
                for sweep in searches:
                    run_search(sweep, plan, store, started, purse, tracking, display)
            auditing.exception()  # waits for it; what went wrong is told once all else is kept
        purse.close()
        pull_records(plan, store)
        if searches:
            plan = plan_sweep(plan.sweep, store)
            _write_study(plan, store, backend)
        delete_unneeded_branch_checkpoints(plan.trials, store)
    _raise_if_incomplete(plan, store, purse, [sweep for sweep in searches if not is_search_complete(sweep, store)])
    if auditing:
        auditing.result()
    else:  # all trials had ended before: perhaps in another study, or before their audit
        _audit_contamination(plan, plan.trials, store, display, display.on_audit_progress)
    return plan


@contextmanager
def _background_preparation() -> Iterator[tuple[ThreadPoolExecutor, Callable[[FractionReporter], FractionReporter]]]:
    """A thread for one job after the other, and what wraps the telling of their progress: where we are leaving it ends
    them there, so that Ctrl-C does not wait for data that nobody will use."""
    leaving = Event()

    def telling(tell: FractionReporter) -> FractionReporter:
        def told(share: float) -> None:
            if leaving.is_set():
                raise _CancelledError
            tell(share)

        return told

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool, telling
        except BaseException:
            leaving.set()
            raise


class _CancelledError(Exception):
    """Nobody waits for this any more."""


def _raise_if_incomplete(
    plan: Plan, store: Store, budget_tracker: BudgetTracker, incomplete_searches: list[Sweep]
) -> None:
    left = [trial for trial in plan.trials if not is_finished(trial, store) and not is_unrunnable(trial, store)]
    if budget_tracker.budget.refusal_reason:
        raise BudgetReachedError(
            f"study {plan.sweep.name}",
            requested=f"{len(plan.trials) + len(plan.placeholders)} trials",
            found=f"{budget_tracker.budget.refusal_reason}; {len(left) + len(plan.placeholders)} of them are not finished",
            hint="what is finished is kept; --set budget.…=N and run again to go on",
        )
    if left or incomplete_searches:
        failed = ", ".join(trial.fingerprint for trial in left)
        raise TrialsFailedError(
            f"study {plan.sweep.name}",
            requested=f"{len(plan.trials)} trials",
            found=f"{len(left)} failed: {failed}" if left else "the search stopped before its end",
            hint="`sweeper status` shows why; run again to retry them",
        )


def _prepare_data(
    plan: Plan, todo: list[PlannedTrial], store: Store, display: ProgressDisplay, on_progress: FractionReporter
) -> list[PlannedTrial]:
    """Once per sweep, before any trial starts: every trial then memory-maps the same files. Returns the trials that
    have data; those whose data cannot be prepared are FAILED rows, and cost the others nothing."""
    ready = []
    for identity in dict.fromkeys(trial.data_fingerprint for trial in todo):
        trials = [trial for trial in todo if trial.data_fingerprint == identity]
        try:
            prepared = data.prepare_data(trials[0].spec.data, trials[0].spec.model, store, on_progress)
        except SweeperError as error:
            planned = [trial for trial in trials if trial in plan.trials]
            for trial in planned:
                display.on_trial_end(record_failure(trial, store, error))
            if not planned:  # data that a search may propose: its trials will fail by themselves
                display.print_line(str(error))
            continue
        display.print_line(data.describe_prepared_data(prepared))
        ready += trials
    return ready


def _audit_when_prepared(
    plan: Plan,
    preparing: Future[list[PlannedTrial]],
    store: Store,
    display: ProgressDisplay,
    on_progress: FractionReporter,
) -> None:
    """The audit, where there is something to hold against the test queries."""
    if ready := preparing.result():
        _audit_contamination(plan, plan.trials or ready, store, display, on_progress)


def _audit_contamination(
    plan: Plan, trials: Sequence[PlannedTrial], store: Store, display: ProgressDisplay, on_progress: FractionReporter
) -> None:
    """Which test queries the training data give away, for the report; once for the same data and queries."""
    evaluation = plan.sweep.evaluation
    if evaluation is None or not trials:
        return
    path = store.study_folder(plan.sweep.name) / CONTAMINATION_FILE
    of = {"data": trials[0].data_fingerprint, "suite": compute_suite_fingerprint(evaluation, plan.sweep.data)}
    if path.exists() and read_json(path).get("of") == of:
        return
    found = data.audit_contamination(
        plan.sweep.data, load_evaluation_suite(evaluation, plan.sweep.data), on_progress=on_progress
    )
    store.publish(path, found | {"of": of})
    display.print_line(
        f"leakage: {len(found['exclude'])} of {found['test']['queries']} test queries are duplicates of training "
        "queries, or not as unseen as their subset says; the report shows rates with and without them"
    )


def _open_backend(name: BackendName, address: str | None, display: ProgressDisplay) -> BackendContext:
    if name == "inline":
        from sweeper.execution.backends.inline import open_inline_backend

        return open_inline_backend()
    from sweeper.execution.backends.ray_tune import open_ray_backend

    return open_ray_backend(address, display)


def _write_study(plan: Plan, store: Store, backend: BackendName) -> None:
    """The sweep as run, its plan, and where it ran: written before the first trial starts."""
    directory = store.study_folder(plan.sweep.name)
    write_yaml(directory / "sweep.yaml", plan.sweep.model_dump(mode="json"))
    before = read_json(directory / "plan.json") if (directory / "plan.json").exists() else None
    write_json(directory / "plan.json", restore_first_estimates(plan.to_document(), before))
    write_json(directory / "manifest.json", collect_run_manifest(backend))
    store.push(directory, patterns=["*.yaml", "*.json"])


def collect_run_manifest(backend: str) -> dict[str, Any]:
    """Commit, dirty flag, versions and hardware of this run."""
    import importlib.metadata
    import platform

    packages = ("ray", "torch", "transformers", "trl", "datasets", "accelerate")
    return {
        "sweeper": __version__,
        "commit": _run_git("rev-parse", "HEAD"),
        "dirty": bool(_run_git("status", "--porcelain")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": backend,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _run_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
