"""The files that describe a study in its folder: its claims, the sweep as run, its plan, and its runs."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from sweeper import __version__
from sweeper.config import write_yaml
from sweeper.planning.estimate import restore_first_estimates
from sweeper.planning.plan import Plan
from sweeper.results.claim_registry import CLAIMS_FILE, RegisteredClaim, register_claims
from sweeper.results.study_tables import MANIFEST_FILE, read_runs, read_stored_sweep, was_run_by_older_version
from sweeper.search import JOURNAL_FILE
from sweeper.storage import JsonObject, Store, digest_files, read_json, write_json
from sweeper.training import FAILED, read_status

_PACKAGES = ("ray", "torch", "transformers", "trl", "datasets", "accelerate")


@dataclass(frozen=True)
class RunManifest:
    """Where and with which versions one run of a study ran: an entry of `runs` in `manifest.json`."""

    sweeper: str
    commit: str | None
    """Commit of the source; None outside a git repository."""
    dirty: bool
    """Whether the source had uncommitted changes."""
    python: str
    platform: str
    cpus: int | None
    backend: str
    started: str
    """Start of the run, ISO 8601, UTC."""
    versions: dict[str, str]
    """Package -> version."""

    def to_document(self) -> JsonObject:
        """Return the entry of `manifest.json`."""
        return asdict(self)


def start_run(plan: Plan, store: Store, backend: str) -> list[RegisteredClaim]:
    """Register the claims, write the sweep and its plan, and add this run to the manifest, before the first trial.

    Args:
        plan: the plan to run.
        store: the store, with the study's files and records as they are now.
        backend: name of the backend.

    Returns:
        The claims that were registered by this run.

    Raises:
        StoreError: files of earlier runs that cannot be read.
    """
    folder = store.study_folder(plan.sweep.name)
    if not (folder / CLAIMS_FILE).exists() and was_run_by_older_version(folder):
        _register_claims_of_older_version(plan, folder)
    new = register_claims(folder, plan.sweep.claims, partial(_count_trials, plan, store))
    for part in plan.parts:
        prefix, own = f"{part.sweep.name}/", store.study_folder(part.sweep.name)
        count = partial(_count_trials, part, store)
        new += register_claims(folder, part.sweep.claims, count, prefix=prefix, own_folder=own)
    runs = [*read_runs(folder), collect_run_manifest(backend).to_document()]
    write_json(folder / MANIFEST_FILE, {"runs": runs})
    write_plan(plan, store)
    return new


def write_plan(plan: Plan, store: Store) -> None:
    """Write `sweep.yaml` and `plan.json`, and publish all files of the study."""
    folder = store.study_folder(plan.sweep.name)
    write_yaml(folder / "sweep.yaml", plan.sweep.model_dump(mode="json"))
    earlier = read_json(folder / "plan.json") if (folder / "plan.json").exists() else None
    document = restore_first_estimates(plan.to_document(), earlier)
    write_json(folder / "plan.json", document | {"files": digest_files(folder, ["sweep.yaml", JOURNAL_FILE])})
    store.push(folder, patterns=["*.yaml", "*.json"])


def _register_claims_of_older_version(plan: Plan, folder: Path) -> None:
    """Register the claims of a study that version 0.1.0 ran: how many trials had finished before them is not known."""
    earlier = read_stored_sweep(folder / "sweep.yaml")
    count = len(plan.trials) + len(plan.placeholders)
    for sweep, prefix in [(earlier, ""), *((part, f"{part.name}/") for part in earlier.sweeps)]:
        register_claims(folder, sweep.claims, lambda: (None, count), prefix=prefix)


def _count_trials(plan: Plan, store: Store) -> tuple[int, int]:
    """Count the trials that ended with a result, and those that are planned."""
    statuses = [read_status(store.record_path(trial.fingerprint)) for trial in plan.trials if trial.fingerprint]
    return sum(status not in (None, FAILED) for status in statuses), len(plan.trials) + len(plan.placeholders)


def collect_run_manifest(backend: str) -> RunManifest:
    """Collect commit, versions and hardware of this run."""
    return RunManifest(
        sweeper=__version__,
        commit=_run_git("rev-parse", "HEAD"),
        dirty=bool(_run_git("status", "--porcelain")),
        python=platform.python_version(),
        platform=platform.platform(),
        cpus=os.cpu_count(),
        backend=backend,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
    )


def _run_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
