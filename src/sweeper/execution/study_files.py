"""The files that describe a run in the study's folder: the sweep as run, its plan, and where it ran."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeper import __version__
from sweeper.config import write_yaml
from sweeper.planning.estimate import restore_first_estimates
from sweeper.planning.plan import Plan
from sweeper.storage import JsonObject, Store, read_json, write_json

_PACKAGES = ("ray", "torch", "transformers", "trl", "datasets", "accelerate")


@dataclass(frozen=True)
class RunManifest:
    """Where and with which versions a study ran last (`manifest.json`)."""

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
        """Return the content of `manifest.json`."""
        return asdict(self)


def write_study_files(plan: Plan, store: Store, backend: str) -> None:
    """Write `sweep.yaml`, `plan.json` and `manifest.json` before the first trial starts."""
    folder = store.study_folder(plan.sweep.name)
    write_yaml(folder / "sweep.yaml", plan.sweep.model_dump(mode="json"))
    earlier = read_json(folder / "plan.json") if (folder / "plan.json").exists() else None
    write_json(folder / "plan.json", restore_first_estimates(plan.to_document(), earlier))
    write_json(folder / "manifest.json", collect_run_manifest(backend).to_document())
    store.push(folder, patterns=["*.yaml", "*.json"])


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
