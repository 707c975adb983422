"""A trial that goes on from another one, its trunk: their steps are the same until its own decay or change begins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from sweeper.config import TrialSpec
from sweeper.errors import BranchError
from sweeper.storage import link_or_copy, read_json, write_bytes, write_json
from sweeper.training.arguments import compute_decay_start, count_optimizer_steps
from sweeper.training.checkpoints import CHECKPOINT_MANIFEST, Checkpoints, checkpoint_problem, file_checksums
from sweeper.training.record import DIVERGED, TrialRecord, read_record


def compute_branch_steps(spec: TrialSpec, examples: int) -> frozenset[int]:
    """Optimiser steps at which a trunk on `examples` rows keeps a checkpoint: where the decay of each arm begins."""
    recipes = [spec.make_recipe_for_epochs(epochs) for epochs in spec.branch_points]
    return frozenset(compute_decay_start(recipe, count_optimizer_steps(recipe, examples)) for recipe in recipes)


def copy_trunk_checkpoint(spec: TrialSpec, step: int, save_steps: int, checkpoints: Checkpoints) -> Path | None:
    """The trunk's checkpoint of `step`, checked, copied and marked as the first of this trial's own.

    `save_steps`: optimiser steps from one of its further checkpoints to the next. None where the trunk diverged by
    then: trained from the start, this trial takes the same steps to the same divergence. None also where there is no
    whole checkpoint and the branch names its step: trained from the start it is the same trial, and its record says
    that it went on from step 0. Raises BranchError for other branches.
    """
    if spec.branch is None:
        return None
    trunk, store = spec.branch.trunk, checkpoints.store
    source = store.branch_point_folder(trunk, step)
    store.pull(source)
    store.pull(store.trial_folder(trunk), patterns=["record.json"])
    record = read_record(store.record_path(trunk))
    if record is not None and record.status == DIVERGED and (record.metrics.get("steps") or 0) <= step:
        return None
    if damage := checkpoint_problem(source, checkpoints.get_identity() | {"fingerprint": trunk}):
        if spec.branch.step is not None:
            return None
        raise BranchError(
            f"trial {checkpoints.fingerprint}",
            requested=f"to go on from step {step} of trial {trunk}, its trunk",
            found=f"{source}: {damage}; the trunk: {_describe_trunk(record)}",
            hint=_suggest_fix(trunk, record),
        )
    target = checkpoints.directory / source.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=link_or_copy)  # the trunk's mark makes no checkpoint of ours of it
    state = target / "trainer_state.json"
    text = json.dumps(read_json(state) | {"save_steps": save_steps}, indent=2, sort_keys=True)
    write_bytes(state, f"{text}\n".encode())
    mark = read_json(target / CHECKPOINT_MANIFEST)
    shared = {"shared_steps": step, "shared_train_seconds": mark["train_seconds"]}
    write_json(
        target / CHECKPOINT_MANIFEST, mark | checkpoints.get_identity() | shared | {"files": file_checksums(target)}
    )
    return target


def _describe_trunk(record: TrialRecord | None) -> str:
    if record is None:
        return "not finished"
    return record.status + (f" ({record.failure.message})" if record.failure else "")


def _suggest_fix(trunk: str, record: TrialRecord | None) -> str:
    if record is None or record.failure:
        return "run again: the trunk is trained before its branches"
    return f"delete trials/{trunk} and run again, or `branch_epochs: false` for a run of its own"
