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

from sweeper import __version__, data, evaluate
from sweeper.data import Tell
from sweeper.errors import BudgetReachedError, SweeperError, TrialsFailedError, UsageError
from sweeper.spec import Sweep, write_yaml
from sweeper.store import HeldError, Store, read_json, write_json
from sweeper.store.away import mark_store
from sweeper.study.agenda import Listed
from sweeper.study.backend import Backend, Workers
from sweeper.study.branches import remove_served, waves
from sweeper.study.collect import LEAKAGE, finished, refresh
from sweeper.study.costs.preflight import first_predictions
from sweeper.study.costs.purse import Purse
from sweeper.study.explore import data_of, explore_and_confirm, explored, in_vain
from sweeper.study.plan import Plan, PlannedTrial, plan_sweep
from sweeper.study.progress import ProgressDisplay
from sweeper.tracking import Tracking
from sweeper.trial import FAILED, failure_of, publish_failure


def run_study(
    plan: Plan, store: Store, *, backend: Backend, address: str | None, tracking: Tracking, display: ProgressDisplay
) -> Plan:
    """Run all trials of a plan that are not finished. Running again is how one resumes. Returns the plan as it is in
    the end, with the trials that a search proposed.

    Raises UsageError for a plan with problems, TrialsFailedError when a trial failed; KeyboardInterrupt passes
    through after workers were stopped, and the study can go on from disk.
    """
    if plan.problems:
        raise UsageError(
            f"sweep {plan.sweep.name}", found="\n".join(plan.problems), do="mend these; nothing was started"
        )
    folder = store.study(plan.sweep.name)
    folder.mkdir(parents=True, exist_ok=True)
    store = mark_store(store)
    try:
        with store.lock(folder, timeout=0):
            return _run(plan, store, backend, address, tracking, display)
    except HeldError as error:
        raise UsageError(
            f"study {plan.sweep.name}",
            found=f"another run of it is going on in {store.location}",
            do="`sweeper status` shows it; wait for its end, or give another --storage or --set name=NAME",
        ) from error


def _run(
    plan: Plan, store: Store, backend: Backend, address: str | None, tracking: Tracking, display: ProgressDisplay
) -> Plan:
    _write_study(plan, store, backend)
    refresh(plan, store)
    todo = [trial for trial in plan.trials if not finished(trial, store)]
    searches = [part.sweep for part in (plan, *plan.parts) if part.sweep.search]
    looking = [sweep for sweep in searches if not explored(sweep, store)]
    display.start(plan, todo, store)
    purse, auditing = Purse(plan.sweep, store), None
    if todo or looking:
        # Data is prepared while the workers start, and audited while the first trials train: none needs the other.
        with _aside() as (aside, tell):
            wanted = [*todo, *data_of(looking, store)]
            preparing = aside.submit(_prepare_data, plan, wanted, store, display, tell(display.preparing))
            auditing = aside.submit(_audit_prepared, plan, preparing, store, display, tell(display.auditing))
            with _workers(backend, address, display) as started:
                ready = {trial.key for trial in preparing.result()}
                listed = [trial for trial in todo if trial.key in ready and trial.role in ("", "confirm")]
                for wave in waves(listed):
                    started.run(Listed(wave, purse), plan, store, tracking, display)
                for sweep in searches:
                    explore_and_confirm(sweep, plan, store, started, purse, tracking, display)
            auditing.exception()  # waits for it; what went wrong is told once all else is kept
        purse.close()
        refresh(plan, store)
        if searches:
            plan = plan_sweep(plan.sweep, store)
            _write_study(plan, store, backend)
        remove_served(plan.trials, store)
    _complete_or_raise(plan, store, purse, [sweep for sweep in searches if not explored(sweep, store)])
    if auditing:
        auditing.result()
    else:  # all trials had ended before: perhaps in another study, or before their audit
        _audit(plan, plan.trials, store, display, display.auditing)
    return plan


@contextmanager
def _aside() -> Iterator[tuple[ThreadPoolExecutor, Callable[[Tell], Tell]]]:
    """A thread for one job after the other, and what wraps the telling of their progress: where we are leaving it ends
    them there, so that Ctrl-C does not wait for data that nobody will use."""
    leaving = Event()

    def telling(tell: Tell) -> Tell:
        def told(share: float) -> None:
            if leaving.is_set():
                raise _LeavingError
            tell(share)

        return told

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool, telling
        except BaseException:
            leaving.set()
            raise


class _LeavingError(Exception):
    """Nobody waits for this any more."""


def _complete_or_raise(plan: Plan, store: Store, purse: Purse, unexplored: list[Sweep]) -> None:
    left = [trial for trial in plan.trials if not finished(trial, store) and not in_vain(trial, store)]
    if purse.budget.exhausted:
        raise BudgetReachedError(
            f"study {plan.sweep.name}",
            asked=f"{len(plan.trials) + len(plan.stand_ins)} trials",
            found=f"{purse.budget.exhausted}; {len(left) + len(plan.stand_ins)} of them are not finished",
            do="what is finished is kept; --set budget.…=N and run again to go on",
        )
    if left or unexplored:
        failed = ", ".join(trial.fingerprint for trial in left)
        raise TrialsFailedError(
            f"study {plan.sweep.name}",
            asked=f"{len(plan.trials)} trials",
            found=f"{len(left)} failed: {failed}" if left else "the search stopped before its end",
            do="`sweeper status` shows why; run again to retry them",
        )


def _prepare_data(
    plan: Plan, todo: list[PlannedTrial], store: Store, display: ProgressDisplay, tell: Tell
) -> list[PlannedTrial]:
    """Once per sweep, before any trial starts: every trial then memory-maps the same files. Returns the trials that
    have data; those whose data cannot be prepared are FAILED rows, and cost the others nothing."""
    ready = []
    for identity in dict.fromkeys(trial.data for trial in todo):
        trials = [trial for trial in todo if trial.data == identity]
        try:
            prepared = data.prepare(trials[0].spec.data, trials[0].spec.model, store, tell)
        except SweeperError as error:
            planned = [trial for trial in trials if trial in plan.trials]
            for trial in planned:
                failure = failure_of(error)
                publish_failure(store, trial.fingerprint, trial.spec.model.name, failure)
                row = {"fingerprint": trial.fingerprint, "status": FAILED, "metrics": {}, "failure": failure.message}
                display.ended(row | {"failure_kind": failure.kind})
            if not planned:  # data that a search may propose: its trials will fail by themselves
                display.say(str(error))
            continue
        display.say(data.describe(prepared))
        ready += trials
    return ready


def _audit_prepared(
    plan: Plan, preparing: Future[list[PlannedTrial]], store: Store, display: ProgressDisplay, tell: Tell
) -> None:
    """The audit, where there is something to hold against the test queries."""
    if ready := preparing.result():
        _audit(plan, plan.trials or ready, store, display, tell)


def _audit(plan: Plan, trials: Sequence[PlannedTrial], store: Store, display: ProgressDisplay, tell: Tell) -> None:
    """Which test queries the training data give away, for the report; once for the same data and queries."""
    evaluation = plan.sweep.evaluation
    if evaluation is None or not trials:
        return
    path = store.study(plan.sweep.name) / LEAKAGE
    of = {"data": trials[0].data, "suite": evaluate.suite_fingerprint(evaluation, plan.sweep.data)}
    if path.exists() and read_json(path).get("of") == of:
        return
    found = data.audit(plan.sweep.data, evaluate.suite(evaluation, plan.sweep.data), tell=tell)
    store.publish(path, found | {"of": of})
    display.say(
        f"leakage: {len(found['exclude'])} of {found['test']['queries']} test queries are duplicates of training "
        "queries, or not as unseen as their subset says; the report shows rates with and without them"
    )


def _workers(name: Backend, address: str | None, display: ProgressDisplay) -> Workers:
    if name == "inline":
        from sweeper.study.inline import inline_backend

        return inline_backend()
    from sweeper.study.on_ray.tune import ray_backend

    return ray_backend(address, display)


def _write_study(plan: Plan, store: Store, backend: Backend) -> None:
    """The sweep as run, its plan, and where it ran: written before the first trial starts."""
    directory = store.study(plan.sweep.name)
    write_yaml(directory / "sweep.yaml", plan.sweep.model_dump(mode="json"))
    before = read_json(directory / "plan.json") if (directory / "plan.json").exists() else None
    write_json(directory / "plan.json", first_predictions(plan.json(), before))
    write_json(directory / "manifest.json", manifest(backend))
    store.push(directory, only=["*.yaml", "*.json"])


def manifest(backend: str) -> dict[str, Any]:
    """Commit, dirty flag, versions and hardware of this run."""
    import importlib.metadata
    import platform

    packages = ("ray", "torch", "transformers", "trl", "datasets", "accelerate")
    return {
        "sweeper": __version__,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": backend,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
