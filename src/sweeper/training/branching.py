"""Branches: trials that continue another one (the trunk), sharing its steps up to their own decay or change."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from sweeper.config import TrialSpec
from sweeper.errors import BranchError
from sweeper.storage import link_or_copy, read_json, write_bytes
from sweeper.training.checkpoint_manifest import (
    compute_file_checksums,
    find_checkpoint_problem,
    read_manifest,
    write_manifest,
)
from sweeper.training.checkpoints import Checkpoints
from sweeper.training.record import DIVERGED, TrialRecord, read_record
from sweeper.training.schedule import TrainingSchedule


def copy_trunk_checkpoint(spec: TrialSpec, schedule: TrainingSchedule, checkpoints: Checkpoints) -> Path | None:
    """Copy the trunk's checkpoint of the branch point, checked, as the first checkpoint of this trial.

    Args:
        schedule: its step counts.
        checkpoints: its own checkpoints.

    Returns:
        The copy; None if the trial is trained from scratch: it is not a branch; its trunk diverged before the branch
        point (the same steps lead to the same divergence); or its branch names the step, and no complete checkpoint
        exists. In the last case its record has 0 as `branched_from_step`.

    Raises:
        BranchError: the branch does not name the step, and no complete checkpoint exists.
    """
    if spec.branch is None:
        return None
    trunk, store, step = spec.branch.trunk, checkpoints.store, schedule.start_step
    source = store.branch_point_folder(trunk, step)
    store.pull(source)
    store.pull(store.trial_folder(trunk), patterns=["record.json"])
    record = read_record(store.record_path(trunk))
    if record is not None and record.status == DIVERGED and _count_steps(record) <= step:
        return None
    if problem := find_checkpoint_problem(source, replace(checkpoints.identity, fingerprint=trunk)):
        if spec.branch.step is not None:
            return None
        raise BranchError(
            f"trial {checkpoints.fingerprint}",
            requested=f"the checkpoint of step {step} of trial {trunk}, its trunk",
            found=f"{source}: {problem}; the trunk: {_describe_trunk(record)}",
            hint=_suggest_fix(trunk, record),
        )
    target = checkpoints.directory / source.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=link_or_copy)  # its manifest still names the trunk
    state = target / "trainer_state.json"
    text = json.dumps(read_json(state) | {"save_steps": schedule.save_steps}, indent=2, sort_keys=True)
    write_bytes(state, f"{text}\n".encode())
    manifest = read_manifest(target)
    write_manifest(
        target,
        replace(
            manifest,
            identity=checkpoints.identity,
            shared_steps=step,
            shared_train_seconds=manifest.train_seconds,
            files=compute_file_checksums(target),
        ),
    )
    return target


def _count_steps(record: TrialRecord) -> float:
    """Return how far a trial got in its schedule: the steps it took, and those that fp16's loss scaling skipped."""
    return (record.metrics.get("steps") or 0) + int(record.applied.get("updates_skipped", 0))


def _describe_trunk(record: TrialRecord | None) -> str:
    if record is None:
        return "not finished"
    return record.status + (f" ({record.failure.message})" if record.failure else "")


def _suggest_fix(trunk: str, record: TrialRecord | None) -> str:
    if record is None or record.failure:
        return "run again: the trunk is trained before its branches"
    return f"delete trials/{trunk} and run again, or set `branch_epochs: false` to train it from scratch"
