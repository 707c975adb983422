"""A trial's checkpoints: checked before it resumes, marked as complete, and deleted once no longer needed."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.config import TrialSpec
from sweeper.errors import PreemptedError, UsageError
from sweeper.storage import CheckpointUploader, Store, link_or_copy
from sweeper.storage.availability import wait_for_store
from sweeper.training import preemption
from sweeper.training.checkpoint_manifest import (
    CheckpointIdentity,
    CheckpointManifest,
    FileChecksums,
    compute_file_checksums,
    find_checkpoint_problem,
    find_other_writer,
    parse_checkpoint_step,
    read_manifest,
    write_manifest,
)
from sweeper.training.distributed import get_world_size, is_any, is_distributed, is_first_on_node, wait_for_all
from sweeper.training.history import LogHistory
from sweeper.training.retention import checkpoints_to_delete, find_lowest_loss_step, get_retention_policy
from sweeper.training.sft_trainer import LeanSFTTrainer
from sweeper.training.step_readings import AppliedSettingsCallback


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one trial, as one of its workers sees them."""

    directory: Path
    fingerprint: str
    spec: TrialSpec
    store: Store
    uploads: CheckpointUploader
    rank: int
    branch_steps: frozenset[int] = frozenset()
    """Optimizer steps at which the trial keeps a checkpoint for other trials."""

    @property
    def identity(self) -> CheckpointIdentity:
        """What a checkpoint must match for this trial to continue from it."""
        engine = self.spec.engine.name if self.spec.engine else "single"
        return CheckpointIdentity(self.fingerprint, engine, self.spec.runtime.workers)

    def make_callbacks(
        self, trainer: LeanSFTTrainer, settings_callback: AppliedSettingsCallback
    ) -> list[TrainerCallback]:
        """Make the trainer's callbacks that complete checkpoints, and save one at branch points and on preemption."""
        points = [BranchCheckpointCallback(self.branch_steps)] if self.branch_steps else []
        return [ManifestCallback(self, trainer, settings_callback), *points, PreemptionCallback(self)]

    def find_newest(self, before: int | None = None) -> Path | None:
        """Return the complete checkpoint of the highest step (below `before`); delete damaged ones and later ones.

        The first worker searches, and all continue from the same checkpoint.

        Raises:
            UsageError: it was written by another engine or number of workers. This trial cannot read it, and does not
                delete it either.
        """
        path: str | None = None
        refusal: str | None = None
        if is_first_on_node():
            self.store.pull(self.directory)
        wait_for_all()
        if self.rank == 0:
            for candidate in sorted(self.directory.glob("checkpoint-*"), key=parse_checkpoint_step, reverse=True):
                is_early_enough = before is None or parse_checkpoint_step(candidate) < before
                if is_early_enough and not find_checkpoint_problem(candidate, self.identity):
                    path = str(candidate)
                    break
                if writer := find_other_writer(candidate, self.identity):
                    refusal = f"{candidate} was written by {writer}"
                    break
                self.store.delete(candidate)
        if is_distributed():
            shared = [path, refusal]
            torch.distributed.broadcast_object_list(shared)
            path, refusal = shared
        if refusal is not None:
            raise UsageError(
                f"trial {self.fingerprint}",
                requested=f"to resume with {self.identity}",
                found=refusal,
                hint="that engine and number of workers under `runtime`, or delete its checkpoints to restart",
            )
        return Path(path) if path else None

    def delete_surplus(self, log_history: LogHistory, *, is_finished: bool) -> None:
        """Delete what the retention policy does not keep, on the first worker of each machine."""
        if not is_first_on_node():
            return
        policy = self.spec.runtime.checkpoints
        for step in checkpoints_to_delete(self._list_losses(log_history), policy, is_finished=is_finished):
            path = self.directory / f"checkpoint-{step}"
            if is_finished and self.rank == 0:
                self.store.delete(path)  # while training, the uploader keeps the last two remote ones by itself
            shutil.rmtree(path, ignore_errors=True)

    def find_best_step(self, log_history: LogHistory) -> int | None:
        """Return the step that the retention policy keeps for its validation loss; None where it keeps none."""
        if not get_retention_policy(self.spec.runtime.checkpoints).keeps_best_checkpoint:
            return None
        return find_lowest_loss_step(self._list_losses(log_history))

    def _list_losses(self, log_history: LogHistory) -> list[tuple[int, float]]:
        steps = sorted(parse_checkpoint_step(path) for path in self.directory.glob("checkpoint-*"))
        return [(step, _find_loss_at(log_history, step)) for step in steps]


def _find_loss_at(log_history: LogHistory, step: int) -> float:
    """Return the validation loss measured at a step, or last before it; NaN where none was."""
    measured = [row["val_loss"] for row in log_history if "val_loss" in row and row["step"] <= step]
    return float(measured[-1]) if measured else math.nan


def restore_callbacks(trainer: LeanSFTTrainer, settings_callback: AppliedSettingsCallback, checkpoint: Path) -> None:
    """Restore the settings that the interrupted run had read back, and the losses that it had not logged.

    A resumed run does not repeat its warm-up, and a branch does not repeat its trunk's.

    Raises:
        UsageError: the checkpoint lacks them: an earlier version of sweeper wrote it.
    """
    manifest = read_manifest(checkpoint)
    read = sum(settings.steps_taken + settings.updates_skipped for settings in manifest.segment_settings)
    if read != parse_checkpoint_step(checkpoint):
        raise UsageError(
            str(checkpoint),
            requested="what every step before it applied",
            found=f"readings of {read} steps: an earlier version wrote it",
            hint="delete it and run again, to train these steps anew",
        )
    own = settings_callback.segment_settings
    own[: len(manifest.segment_settings)] = manifest.segment_settings[: len(own)]
    settings_callback.train_seconds_before = manifest.train_seconds
    settings_callback.shared_steps = manifest.shared_steps
    settings_callback.shared_train_seconds = manifest.shared_train_seconds
    trainer.unlogged_loss = manifest.unlogged_loss, manifest.logged_at_step


class ManifestCallback(TrainerCallback):
    """Marks a saved checkpoint as complete, with the size and checksum of every file."""

    def __init__(
        self, checkpoints: Checkpoints, trainer: LeanSFTTrainer, settings_callback: AppliedSettingsCallback
    ) -> None:
        self.checkpoints, self.trainer, self.settings_callback = checkpoints, trainer, settings_callback

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the unlogged losses: the trainer has just reset them."""
        loss, step = self.trainer.unlogged_loss
        if step is not None:
            self.trainer._tr_loss += loss
            self.trainer._globalstep_last_logged = step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Complete a checkpoint; every worker's trainer calls this once its part is on disk."""
        checkpoints = self.checkpoints
        path = checkpoints.directory / f"checkpoint-{state.global_step}"
        others: FileChecksums = {}
        if checkpoints.store.url:
            wait_for_all()  # the other workers of this machine write their parts into the same folder
        if checkpoints.store.url and checkpoints.rank and is_first_on_node():
            checkpoints.uploads.check_lease()
            checkpoints.store.push(path)  # another machine's parts, before the manifest that declares all of them
            others = compute_file_checksums(path)
        unlogged = self.trainer._tr_loss.detach().clone().float()
        if is_distributed():  # as the trainer logs it: the mean over the workers
            torch.distributed.all_reduce(unlogged)
            unlogged /= get_world_size()
            parts: list[FileChecksums] = [{} for _ in range(get_world_size())]
            torch.distributed.all_gather_object(parts, others)
            others = {name: file for part in parts for name, file in part.items()}
        if checkpoints.rank == 0:
            manifest = self._make_manifest(others | compute_file_checksums(path), float(unlogged))
            if state.global_step in checkpoints.branch_steps:
                # Before the checkpoint is complete: a run that resumes from it does not get here again.
                _save_branch_point(path, manifest, checkpoints)
            write_manifest(path, manifest)
            checkpoints.uploads.enqueue(path, retained_step=checkpoints.find_best_step(state.log_history))
        checkpoints.delete_surplus(state.log_history, is_finished=False)

    def _make_manifest(self, files: FileChecksums, unlogged_loss: float) -> CheckpointManifest:
        settings = self.settings_callback
        return CheckpointManifest(
            self.checkpoints.identity,
            tuple(settings.segment_settings),
            settings.train_seconds,
            unlogged_loss,
            self.trainer._globalstep_last_logged,
            settings.shared_steps,
            settings.shared_train_seconds,
            files,
        )


class BranchCheckpointCallback(TrainerCallback):
    """Saves a checkpoint at the end of the given optimizer steps."""

    def __init__(self, steps: frozenset[int]) -> None:
        self.steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Request the save. It does not change the training: saving draws no random numbers."""
        control.should_save = control.should_save or state.global_step in self.steps
        return control


class PreemptionCallback(TrainerCallback):
    """After a SIGTERM to any worker, all save a checkpoint at the end of the step, and stop."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.is_preempted = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Check for a SIGTERM and, before anything is saved, that the store is available."""
        is_requested = is_any(preemption.is_preemption_requested(), args.device)
        if is_requested or control.should_save:
            wait_for_store(self.checkpoints.store)
        if is_requested:
            self.is_preempted = control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop once the manifest is written and uploaded.

        Raises:
            PreemptedError: after a SIGTERM.
        """
        if self.is_preempted:
            if self.checkpoints.rank == 0:
                self.checkpoints.uploads.wait_until_uploaded()
            wait_for_all()  # a worker that stops earlier takes the others with it, before the manifest is written
            raise PreemptedError(
                f"trial {self.checkpoints.fingerprint}",
                found=f"SIGTERM; a checkpoint of step {state.global_step} was saved",
                hint="run again to resume from it",
            )


def _save_branch_point(path: Path, manifest: CheckpointManifest, checkpoints: Checkpoints) -> None:
    """Copy a checkpoint as a branch point, under its name only once it is complete, and upload it."""
    target = checkpoints.store.branch_point_folder(checkpoints.fingerprint, parse_checkpoint_step(path))
    temporary = target.with_name(f".{target.name}")
    for old in (temporary, target):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(path, temporary, copy_function=link_or_copy)
    write_manifest(temporary, manifest)
    temporary.rename(target)
    checkpoints.store.push(target)
