"""A trial's checkpoints: marked when whole, checked before they are gone on from, saved before a machine goes."""

from __future__ import annotations

import math
import os
import shutil
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.config import TrialSpec
from sweeper.errors import PreemptedError, StoreError, UsageError
from sweeper.storage import CheckpointUploader, Store, link_or_copy, read_json, write_json
from sweeper.storage.availability import wait_for_store
from sweeper.training import preemption
from sweeper.training.callbacks import AppliedSettingsCallback
from sweeper.training.retention import checkpoints_to_delete, find_lowest_loss_step
from sweeper.training.sft_trainer import LeanSFTTrainer

CHECKPOINT_MANIFEST = "sweeper-complete"
"""File written into a checkpoint once all of it is on disk."""


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
    """Optimiser steps at which the trial keeps a checkpoint for others to go on from."""

    @property
    def is_first_on_node(self) -> bool:
        """Whether this worker fetches and sends for its machine."""
        return self.rank == 0 or os.environ.get("LOCAL_RANK") == "0"

    def make_callbacks(
        self, trainer: LeanSFTTrainer, settings_callback: AppliedSettingsCallback
    ) -> list[TrainerCallback]:
        """What the trainer calls to mark them, and to save one when it has to go."""
        points = [BranchCheckpointCallback(self.branch_steps)] if self.branch_steps else []
        return [ManifestCallback(self, trainer, settings_callback), *points, PreemptionCallback(self)]

    def find_newest(self, before: int | None = None) -> Path | None:
        """The whole checkpoint of the highest step (below `before`); damaged ones and later ones are deleted.

        The first worker looks, and all go on from the same. One that another engine or another number of workers
        wrote cannot be read by this one, and is not thrown away for it: UsageError.
        """
        found: list[str | None] = [None, None]  # its path, or why there is none to go on from
        if self.is_first_on_node:
            self.store.pull(self.directory)
        _barrier()
        if self.rank == 0:
            for path in sorted(self.directory.glob("checkpoint-*"), key=parse_checkpoint_step, reverse=True):
                if (before is None or parse_checkpoint_step(path) < before) and not checkpoint_problem(
                    path, self.get_identity()
                ):
                    found = [str(path), None]
                    break
                if writer := _describe_other_writer(path, self.get_identity()):
                    found = [None, f"{path} is of {writer}"]
                    break
                self.store.delete(path)
        if _is_distributed():
            torch.distributed.broadcast_object_list(found)
        if found[1] is not None:
            raise UsageError(
                f"trial {self.fingerprint}",
                requested=f"to go on with {_format_identity(self.get_identity())}",
                found=found[1],
                hint="give it that engine and number of workers under `runtime`, or delete its checkpoints to begin anew",
            )
        return Path(found[0]) if found[0] else None

    def delete_surplus(self, log_history: list[dict[str, Any]], *, is_finished: bool) -> None:
        """Delete what the runtime's policy does not keep: by the first worker of each machine, of its working copy."""
        if not self.is_first_on_node:
            return
        policy = self.spec.runtime.checkpoints
        for step in checkpoints_to_delete(self._list_losses(log_history), policy, is_finished=is_finished):
            path = self.directory / f"checkpoint-{step}"
            if is_finished and self.rank == 0:
                self.store.delete(path)  # while training, the uploads keep the last two by themselves
            shutil.rmtree(path, ignore_errors=True)

    def find_best_step(self, log_history: list[dict[str, Any]]) -> int | None:
        """Step of the one that the runtime's policy keeps for its validation loss, if it does."""
        return (
            find_lowest_loss_step(self._list_losses(log_history)) if self.spec.runtime.checkpoints == "best" else None
        )

    def _list_losses(self, log_history: list[dict[str, Any]]) -> list[tuple[int, float]]:
        steps = sorted(parse_checkpoint_step(path) for path in self.directory.glob("checkpoint-*"))
        return [(step, _find_loss_at(log_history, step)) for step in steps]

    def get_identity(self) -> dict[str, Any]:
        """Who can go on from them."""
        engine = self.spec.engine.name if self.spec.engine else "single"
        return {"fingerprint": self.fingerprint, "engine": engine, "workers": self.spec.runtime.workers}


def checkpoint_problem(path: Path, identity: dict[str, Any]) -> str:
    """Why a checkpoint cannot be gone on from by who has this identity; empty where it can."""
    if not path.is_dir():
        return "not there"
    if not (path / CHECKPOINT_MANIFEST).exists():
        return "cut off while it was written"
    try:
        mark = read_json(path / CHECKPOINT_MANIFEST)
    except StoreError as error:
        return error.found
    if any(mark.get(key) != value for key, value in identity.items()):
        return "another trial's, or of another engine or number of workers"
    for name, (size, checksum) in mark["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size or _compute_checksum(file) != checksum:
            return f"{name} is not as it was written"
    return ""


def _describe_other_writer(path: Path, identity: dict[str, Any]) -> str:
    """Engine and number of workers that wrote a whole checkpoint of this trial, where they are others; else empty."""
    try:
        mark = read_json(path / CHECKPOINT_MANIFEST)
    except StoreError:
        return ""
    writer = {key: mark.get(key) for key in identity}
    ours = writer["fingerprint"] == identity["fingerprint"] and writer != identity
    return _format_identity(writer) if ours and not checkpoint_problem(path, writer) else ""


def _format_identity(identity: dict[str, Any]) -> str:
    return f"engine {identity['engine']}, {identity['workers']} workers"


def parse_checkpoint_step(checkpoint: Path) -> int:
    """Optimiser step of a checkpoint, from its name."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def restore_callbacks(trainer: LeanSFTTrainer, settings_callback: AppliedSettingsCallback, checkpoint: Path) -> None:
    """Take up what an interrupted run had read back, and the losses that it had not logged yet."""
    mark = read_json(checkpoint / CHECKPOINT_MANIFEST)
    # What it has seen: a resumed run did not see its own warm-up, nor a branch that of its trunk.
    for reading, seen in zip(settings_callback.segment_settings, [mark, *mark.get("after_changes", ())], strict=False):
        for name in asdict(reading):
            setattr(reading, name, seen.get(name, getattr(reading, name)))
    settings_callback.train_seconds_before = mark["train_seconds"]
    settings_callback.shared_steps = mark.get("shared_steps", 0)
    settings_callback.shared_train_seconds = mark.get("shared_train_seconds", 0.0)
    trainer.unlogged_loss = mark["unlogged_loss"], mark["logged_at_step"]


class ManifestCallback(TrainerCallback):
    """Marks a checkpoint as whole, with the size and checksum of every file."""

    def __init__(
        self, checkpoints: Checkpoints, trainer: LeanSFTTrainer, settings_callback: AppliedSettingsCallback
    ) -> None:
        self.checkpoints, self.trainer, self.settings_callback = checkpoints, trainer, settings_callback

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The trainer has just set both to nothing: a checkpoint between two logged steps would lose losses."""
        loss, step = self.trainer.unlogged_loss
        if step is not None:
            self.trainer._tr_loss += loss
            self.trainer._globalstep_last_logged = step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called by every worker's trainer once its part of the checkpoint is on disk."""
        checkpoints = self.checkpoints
        path = checkpoints.directory / f"checkpoint-{state.global_step}"
        others: dict[str, list[int]] = {}
        if checkpoints.store.url:
            _barrier()  # the other workers of this machine write their parts into the same folder
        if checkpoints.store.url and checkpoints.rank and checkpoints.is_first_on_node:
            checkpoints.uploads.check_lease()
            checkpoints.store.push(path)  # another machine's shares, before the mark that says all is there
            others = file_checksums(path)
        unlogged = self.trainer._tr_loss.detach().clone().float()
        if _is_distributed():  # as the trainer logs it: the mean over the workers
            torch.distributed.all_reduce(unlogged)
            unlogged /= torch.distributed.get_world_size()
            shares: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(shares, others)
            others = {name: file for share in shares for name, file in share.items()}
        if checkpoints.rank == 0:
            mark = self._make_manifest(others | file_checksums(path), unlogged)
            if state.global_step in checkpoints.branch_steps:
                # Before the checkpoint counts as whole: a run that goes on from it does not come by here again.
                _save_branch_point(path, mark, checkpoints)
            write_json(path / CHECKPOINT_MANIFEST, mark)
            checkpoints.uploads.enqueue(path, retained_step=checkpoints.find_best_step(state.log_history))
        checkpoints.delete_surplus(state.log_history, is_finished=False)

    def _make_manifest(self, files: dict[str, list[int]], unlogged: torch.Tensor) -> dict[str, Any]:
        first, *later = map(asdict, self.settings_callback.segment_settings)
        seen = first | ({"after_changes": later} if later else {})
        seen |= {
            "train_seconds": self.settings_callback.train_seconds,
            "unlogged_loss": float(unlogged),
            "logged_at_step": self.trainer._globalstep_last_logged,
            "shared_steps": self.settings_callback.shared_steps,
            "shared_train_seconds": self.settings_callback.shared_train_seconds,
        }
        return self.checkpoints.get_identity() | seen | {"files": files}


class BranchCheckpointCallback(TrainerCallback):
    """Asks for a checkpoint at the end of these optimiser steps."""

    def __init__(self, steps: frozenset[int]) -> None:
        self.steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """It changes nothing that is trained: saving draws no random numbers."""
        control.should_save = control.should_save or state.global_step in self.steps
        return control


class PreemptionCallback(TrainerCallback):
    """After a SIGTERM to any of the workers: all save a checkpoint at the end of the step, and end."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.is_preempted = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Look whether it is time to go, and before anything is saved, whether the store is there."""
        asked = preemption.is_preemption_requested()
        if _is_distributed():
            flag = torch.tensor(float(asked), device=args.device)
            torch.distributed.all_reduce(flag)
            asked = bool(flag.item())
        if asked or control.should_save:
            wait_for_store(self.checkpoints.store)
        if asked:
            self.is_preempted = control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The mark is written: nothing is left to do here."""
        if self.is_preempted:
            if self.checkpoints.rank == 0:
                self.checkpoints.uploads.wait_until_uploaded()
            _barrier()  # who leaves earlier takes the others with it, and the mark is not written yet
            raise PreemptedError(
                f"trial {self.checkpoints.fingerprint}",
                found=f"SIGTERM; a checkpoint of step {state.global_step} was saved",
                hint="run again to go on from it",
            )


def _save_branch_point(path: Path, manifest: dict[str, Any], checkpoints: Checkpoints) -> None:
    """A checkpoint once more as a branch point, marked, under its name only once it is whole; and behind the URL."""
    target = checkpoints.store.branch_point_folder(checkpoints.fingerprint, parse_checkpoint_step(path))
    temporary = target.with_name(f".{target.name}")
    for old in (temporary, target):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(path, temporary, copy_function=link_or_copy)
    write_json(temporary / CHECKPOINT_MANIFEST, manifest)
    temporary.rename(target)
    checkpoints.store.push(target)


def file_checksums(path: Path) -> dict[str, list[int]]:
    """Size in bytes and checksum of every file of a checkpoint, but its mark."""
    return {
        str(file.relative_to(path)): [file.stat().st_size, _compute_checksum(file)]
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != CHECKPOINT_MANIFEST
    }


def _compute_checksum(path: Path) -> int:
    """CRC-32: against damage, not against malice."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _find_loss_at(log_history: list[dict[str, Any]], step: int) -> float:
    """Validation loss measured at a step, or last before it; NaN where none was."""
    measured = [row["val_loss"] for row in log_history if "val_loss" in row and row["step"] <= step]
    return float(measured[-1]) if measured else math.nan


def _barrier() -> None:
    """Wait for all workers."""
    if _is_distributed():
        torch.distributed.barrier()


def _is_distributed() -> bool:
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())
