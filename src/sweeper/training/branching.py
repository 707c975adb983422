"""A branch: a trial that continues another one, its trunk, whose steps it shares until its own decay or change."""

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
        The copy; None for a trial that is to be trained from scratch instead. That is one that is no branch; one whose
        trunk diverged by then (the same steps lead to the same divergence); and one whose branch names its step, where
        no complete checkpoint exists: its record then says that it branched from step 0.

    Raises:
        BranchError: no complete checkpoint exists for any other branch.
    """
    if spec.branch is None:
        return None
    trunk, store, step = spec.branch.trunk, checkpoints.store, schedule.start_step
    source = store.branch_point_folder(trunk, step)
    store.pull(source)
    store.pull(store.trial_folder(trunk), patterns=["record.json"])
    record = read_record(store.record_path(trunk))
    if record is not None and record.status == DIVERGED and (record.metrics.get("steps") or 0) <= step:
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
    shutil.copytree(source, target, copy_function=link_or_copy)  # not yet ours: its manifest names the trunk
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


def _describe_trunk(record: TrialRecord | None) -> str:
    if record is None:
        return "not finished"
    return record.status + (f" ({record.failure.message})" if record.failure else "")


def _suggest_fix(trunk: str, record: TrialRecord | None) -> str:
    if record is None or record.failure:
        return "run again: the trunk is trained before its branches"
    return f"delete trials/{trunk} and run again, or set `branch_epochs: false` to train it from scratch"
