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

from sweeper.errors import PreemptedError, StoreError, UsageError
from sweeper.spec import TrialSpec
from sweeper.store import Store, Uploads, link_or_copy, read_json, write_json
from sweeper.store.away import require_store
from sweeper.trial import preemption
from sweeper.trial.retention import best_of, to_remove
from sweeper.trial.trainer import LeanSFTTrainer
from sweeper.trial.watch import AppliedWatch

MARK = "sweeper-complete"
"""File written into a checkpoint once all of it is on disk."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one trial, as one of its workers sees them."""

    directory: Path
    fingerprint: str
    spec: TrialSpec
    store: Store
    uploads: Uploads
    rank: int
    branch_steps: frozenset[int] = frozenset()
    """Optimiser steps at which the trial keeps a checkpoint for others to go on from."""

    @property
    def first_of_its_node(self) -> bool:
        """Whether this worker fetches and sends for its machine."""
        return self.rank == 0 or os.environ.get("LOCAL_RANK") == "0"

    def callbacks(self, trainer: LeanSFTTrainer, applied: AppliedWatch) -> list[TrainerCallback]:
        """What the trainer calls to mark them, and to save one when it has to go."""
        points = [_SaveAt(self.branch_steps)] if self.branch_steps else []
        return [_Mark(self, trainer, applied), *points, _SaveAndGo(self)]

    def newest(self, before: int | None = None) -> Path | None:
        """The whole checkpoint of the highest step (below `before`); damaged ones and later ones are deleted.

        The first worker looks, and all go on from the same. One that another engine or another number of workers
        wrote cannot be read by this one, and is not thrown away for it: UsageError.
        """
        found: list[str | None] = [None, None]  # its path, or why there is none to go on from
        if self.first_of_its_node:
            self.store.pull(self.directory)
        _together()
        if self.rank == 0:
            for path in sorted(self.directory.glob("checkpoint-*"), key=step_of, reverse=True):
                if (before is None or step_of(path) < before) and not damage_of(path, self.identity()):
                    found = [str(path), None]
                    break
                if writer := _other_writer(path, self.identity()):
                    found = [None, f"{path} is of {writer}"]
                    break
                self.store.remove(path)
        if _several():
            torch.distributed.broadcast_object_list(found)
        if found[1] is not None:
            raise UsageError(
                f"trial {self.fingerprint}",
                asked=f"to go on with {_words(self.identity())}",
                found=found[1],
                do="give it that engine and number of workers under `runtime`, or delete its checkpoints to begin anew",
            )
        return Path(found[0]) if found[0] else None

    def prune(self, log_history: list[dict[str, Any]], *, finished: bool) -> None:
        """Delete what the runtime's policy does not keep: by the first worker of each machine, of its working copy."""
        if not self.first_of_its_node:
            return
        policy = self.spec.runtime.checkpoints
        for step in to_remove(self._losses(log_history), policy, finished=finished):
            path = self.directory / f"checkpoint-{step}"
            if finished and self.rank == 0:
                self.store.remove(path)  # while training, the uploads keep the last two by themselves
            shutil.rmtree(path, ignore_errors=True)

    def best(self, log_history: list[dict[str, Any]]) -> int | None:
        """Step of the one that the runtime's policy keeps for its validation loss, if it does."""
        return best_of(self._losses(log_history)) if self.spec.runtime.checkpoints == "best" else None

    def _losses(self, log_history: list[dict[str, Any]]) -> list[tuple[int, float]]:
        steps = sorted(step_of(path) for path in self.directory.glob("checkpoint-*"))
        return [(step, _loss_at(log_history, step)) for step in steps]

    def identity(self) -> dict[str, Any]:
        """Who can go on from them."""
        engine = self.spec.engine.name if self.spec.engine else "single"
        return {"fingerprint": self.fingerprint, "engine": engine, "workers": self.spec.runtime.workers}


def damage_of(path: Path, identity: dict[str, Any]) -> str:
    """Why a checkpoint cannot be gone on from by who has this identity; empty where it can."""
    if not path.is_dir():
        return "not there"
    if not (path / MARK).exists():
        return "cut off while it was written"
    try:
        mark = read_json(path / MARK)
    except StoreError as error:
        return error.found
    if any(mark.get(key) != value for key, value in identity.items()):
        return "another trial's, or of another engine or number of workers"
    for name, (size, checksum) in mark["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size or _checksum(file) != checksum:
            return f"{name} is not as it was written"
    return ""


def _other_writer(path: Path, identity: dict[str, Any]) -> str:
    """Engine and number of workers that wrote a whole checkpoint of this trial, where they are others; else empty."""
    try:
        mark = read_json(path / MARK)
    except StoreError:
        return ""
    writer = {key: mark.get(key) for key in identity}
    ours = writer["fingerprint"] == identity["fingerprint"] and writer != identity
    return _words(writer) if ours and not damage_of(path, writer) else ""


def _words(identity: dict[str, Any]) -> str:
    return f"engine {identity['engine']}, {identity['workers']} workers"


def step_of(checkpoint: Path) -> int:
    """Optimiser step of a checkpoint, from its name."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def restore(trainer: LeanSFTTrainer, applied: AppliedWatch, checkpoint: Path) -> None:
    """Take up what an interrupted run had read back, and the losses that it had not logged yet."""
    mark = read_json(checkpoint / MARK)
    # What it has seen: a resumed run did not see its own warm-up, nor a branch that of its trunk.
    for reading, seen in zip(applied.readings, [mark, *mark.get("after_changes", ())], strict=False):
        for name in asdict(reading):
            setattr(reading, name, seen.get(name, getattr(reading, name)))
    applied.train_seconds_before = mark["train_seconds"]
    applied.shared_steps = mark.get("shared_steps", 0)
    applied.shared_train_seconds = mark.get("shared_train_seconds", 0.0)
    trainer.unlogged = mark["unlogged_loss"], mark["logged_at_step"]


class _Mark(TrainerCallback):
    """Marks a checkpoint as whole, with the size and checksum of every file."""

    def __init__(self, checkpoints: Checkpoints, trainer: LeanSFTTrainer, applied: AppliedWatch) -> None:
        self.checkpoints, self.trainer, self.applied = checkpoints, trainer, applied

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The trainer has just set both to nothing: a checkpoint between two logged steps would lose losses."""
        loss, step = self.trainer.unlogged
        if step is not None:
            self.trainer._tr_loss += loss
            self.trainer._globalstep_last_logged = step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called by every worker's trainer once its part of the checkpoint is on disk."""
        checkpoints = self.checkpoints
        path = checkpoints.directory / f"checkpoint-{state.global_step}"
        others: dict[str, list[int]] = {}
        if checkpoints.store.url:
            _together()  # the other workers of this machine write their parts into the same folder
        if checkpoints.store.url and checkpoints.rank and checkpoints.first_of_its_node:
            checkpoints.uploads.may()
            checkpoints.store.push(path)  # another machine's shares, before the mark that says all is there
            others = files_of(path)
        unlogged = self.trainer._tr_loss.detach().clone().float()
        if _several():  # as the trainer logs it: the mean over the workers
            torch.distributed.all_reduce(unlogged)
            unlogged /= torch.distributed.get_world_size()
            shares: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(shares, others)
            others = {name: file for share in shares for name, file in share.items()}
        if checkpoints.rank == 0:
            mark = self._mark(others | files_of(path), unlogged)
            if state.global_step in checkpoints.branch_steps:
                # Before the checkpoint counts as whole: a run that goes on from it does not come by here again.
                _keep(path, mark, checkpoints)
            write_json(path / MARK, mark)
            checkpoints.uploads.push(path, keep=checkpoints.best(state.log_history))
        checkpoints.prune(state.log_history, finished=False)

    def _mark(self, files: dict[str, list[int]], unlogged: torch.Tensor) -> dict[str, Any]:
        first, *later = map(asdict, self.applied.readings)
        seen = first | ({"after_changes": later} if later else {})
        seen |= {
            "train_seconds": self.applied.train_seconds,
            "unlogged_loss": float(unlogged),
            "logged_at_step": self.trainer._globalstep_last_logged,
            "shared_steps": self.applied.shared_steps,
            "shared_train_seconds": self.applied.shared_train_seconds,
        }
        return self.checkpoints.identity() | seen | {"files": files}


class _SaveAt(TrainerCallback):
    """Asks for a checkpoint at the end of these optimiser steps."""

    def __init__(self, steps: frozenset[int]) -> None:
        self.steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """It changes nothing that is trained: saving draws no random numbers."""
        control.should_save = control.should_save or state.global_step in self.steps
        return control


class _SaveAndGo(TrainerCallback):
    """After a SIGTERM to any of the workers: all save a checkpoint at the end of the step, and end."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.going = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Look whether it is time to go, and before anything is saved, whether the store is there."""
        asked = preemption.asked_to_go()
        if _several():
            flag = torch.tensor(float(asked), device=args.device)
            torch.distributed.all_reduce(flag)
            asked = bool(flag.item())
        if asked or control.should_save:
            require_store(self.checkpoints.store)
        if asked:
            self.going = control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The mark is written: nothing is left to do here."""
        if self.going:
            if self.checkpoints.rank == 0:
                self.checkpoints.uploads.wait()
            _together()  # who leaves earlier takes the others with it, and the mark is not written yet
            raise PreemptedError(
                f"trial {self.checkpoints.fingerprint}",
                found=f"SIGTERM; a checkpoint of step {state.global_step} was saved",
                do="run again to go on from it",
            )


def _keep(path: Path, mark: dict[str, Any], checkpoints: Checkpoints) -> None:
    """A checkpoint once more as a branch point, marked, under its name only once it is whole; and behind the URL."""
    target = checkpoints.store.branch_point(checkpoints.fingerprint, step_of(path))
    temporary = target.with_name(f".{target.name}")
    for old in (temporary, target):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(path, temporary, copy_function=link_or_copy)
    write_json(temporary / MARK, mark)
    temporary.rename(target)
    checkpoints.store.push(target)


def files_of(path: Path) -> dict[str, list[int]]:
    """Size in bytes and checksum of every file of a checkpoint, but its mark."""
    return {
        str(file.relative_to(path)): [file.stat().st_size, _checksum(file)]
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != MARK
    }


def _checksum(path: Path) -> int:
    """CRC-32: against damage, not against malice."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _loss_at(log_history: list[dict[str, Any]], step: int) -> float:
    """Validation loss measured at a step, or last before it; NaN where none was."""
    measured = [row["val_loss"] for row in log_history if "val_loss" in row and row["step"] <= step]
    return float(measured[-1]) if measured else math.nan


def _together() -> None:
    """Wait for all workers."""
    if _several():
        torch.distributed.barrier()


def _several() -> bool:
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())
