"""Run a plan on a backend: reuse what is finished, continue what was cut off, start the rest."""

from __future__ import annotations

import datetime
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sweeper import __version__, data, evaluate
from sweeper.errors import SweeperError, TrialsFailedError, UsageError
from sweeper.spec import EvaluationSpec, write_yaml
from sweeper.store import HeldError, Store, read_json, write_json
from sweeper.store.away import mark_store
from sweeper.study.backend import Backend, Workers
from sweeper.study.branches import remove_served, waves
from sweeper.study.collect import LEAKAGE, refresh
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.tracking import Tracking
from sweeper.trial import FAILED, failure_of, publish_failure, read_record


def run_study(
    plan: Plan, store: Store, *, backend: Backend, address: str | None, tracking: Tracking, display: ProgressDisplay
) -> None:
    """Run all trials of a plan that are not finished. Running again is how one resumes.

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
            _run(plan, store, backend, address, tracking, display)
    except HeldError as error:
        raise UsageError(
            f"study {plan.sweep.name}",
            found=f"another run of it is going on in {store.location}",
            do="`sweeper status` shows it; wait for its end, or give another --storage or --set name=NAME",
        ) from error


def _run(
    plan: Plan, store: Store, backend: Backend, address: str | None, tracking: Tracking, display: ProgressDisplay
) -> None:
    _write_study(plan, store, backend)
    refresh(plan, store)
    todo = [trial for trial in plan.trials if not finished(trial, plan, store)]
    display.start(plan, todo, store)
    if todo:
        # Data is prepared while the workers start: both take seconds, and neither needs the other.
        with ThreadPoolExecutor(1) as pool:
            preparing = pool.submit(_prepare_data, plan, todo, store, display)
            with _workers(backend, address, display) as run_trials:
                if ready := preparing.result():
                    for wave in waves(ready):
                        run_trials(wave, plan, store, tracking, display)
        refresh(plan, store)
        remove_served(plan.trials, store)
    failed = [trial.fingerprint for trial in plan.trials if not finished(trial, plan, store)]
    if failed:
        raise TrialsFailedError(
            f"study {plan.sweep.name}",
            asked=f"{len(plan.trials)} trials",
            found=f"{len(failed)} failed: {', '.join(failed)}",
            do="`sweeper status` shows why; run again to retry them",
        )


def finished(trial: PlannedTrial, plan: Plan, store: Store) -> bool:
    """Whether nothing is left to do: trained (not FAILED) and, where asked, evaluated."""
    record = read_record(store.record(trial.fingerprint))
    if record is None or record.status == FAILED:
        return False
    if plan.sweep.evaluation is None:
        return True
    suite = evaluate.suite_fingerprint(plan.sweep.evaluation, trial.spec.data)
    return (store.evaluation(trial.fingerprint, suite) / "summary.json").exists()


def _prepare_data(plan: Plan, todo: list[PlannedTrial], store: Store, display: ProgressDisplay) -> list[PlannedTrial]:
    """Once per sweep, before any trial starts: every trial then memory-maps the same files. Returns the trials that
    have data; those whose data cannot be prepared are FAILED rows, and cost the others nothing."""
    ready = []
    for identity in dict.fromkeys(trial.data for trial in todo):
        trials = [trial for trial in todo if trial.data == identity]
        try:
            prepared = data.prepare(trials[0].spec.data, trials[0].spec.model, store, display.preparing)
        except SweeperError as error:
            for trial in trials:
                failure = failure_of(error)
                publish_failure(store, trial.fingerprint, trial.spec.model.name, failure)
                row = {"fingerprint": trial.fingerprint, "status": FAILED, "metrics": {}, "failure": failure.message}
                display.ended(row | {"failure_kind": failure.kind})
            continue
        display.say(data.describe(prepared))
        ready += trials
    if plan.sweep.evaluation is not None and ready:
        _audit(plan, plan.sweep.evaluation, store, display)
    return ready


def _audit(plan: Plan, evaluation: EvaluationSpec, store: Store, display: ProgressDisplay) -> None:
    """Which test queries the training data give away, for the report; once for the same data and queries."""
    path = store.study(plan.sweep.name) / LEAKAGE
    of = {"data": plan.trials[0].data, "suite": evaluate.suite_fingerprint(evaluation, plan.sweep.data)}
    if path.exists() and read_json(path).get("of") == of:
        return
    found = data.audit(plan.sweep.data, evaluate.suite(evaluation, plan.sweep.data), tell=display.preparing)
    store.publish(path, found | {"of": of})
    display.say(
        f"leakage: {len(found['exclude'])} of {found['test']['queries']} test queries are duplicates of training "
        "queries, or not as unseen as their subset says; the report shows rates with and without them"
    )


def _workers(name: Backend, address: str | None, display: ProgressDisplay) -> Workers:
    if name == "inline":
        from sweeper.study.inline import inline_backend

        return inline_backend()
    from sweeper.study.ray_tune import ray_backend

    return ray_backend(address, display)


def _write_study(plan: Plan, store: Store, backend: Backend) -> None:
    """The sweep as run, its plan, and where it ran: written before the first trial starts."""
    directory = store.study(plan.sweep.name)
    write_yaml(directory / "sweep.yaml", plan.sweep.model_dump(mode="json"))
    write_json(directory / "plan.json", plan.json())
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
