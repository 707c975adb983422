"""The manifest of a checkpoint: written last, and checked before a trial continues from it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sweeper.errors import StoreError
from sweeper.storage import JsonObject, read_json, write_json
from sweeper.training.step_readings import AppliedSettings

MANIFEST_FILE = "sweeper-complete"
"""File name of the manifest inside a checkpoint."""
FileChecksums = dict[str, list[int]]
"""File name -> [size in bytes, CRC-32]."""


@dataclass(frozen=True)
class CheckpointIdentity:
    """What must match to continue from a checkpoint."""

    fingerprint: str
    """Fingerprint of the trial."""
    engine: str
    """Name of the engine that wrote it."""
    workers: int
    """Workers that wrote it."""

    def __str__(self) -> str:
        return f"engine {self.engine}, {self.workers} workers"


@dataclass(frozen=True)
class CheckpointManifest:
    """Content of the manifest: the checkpoint's writer, state that the trainer does not save, and checksums."""

    identity: CheckpointIdentity
    """The trial and how its workers shared the model."""
    segment_settings: tuple[AppliedSettings, ...]
    """What was read back so far, one per segment of the recipe."""
    train_seconds: float
    """Training time that led to it."""
    unlogged_loss: float
    """Sum of the losses since the last logged step, mean over the workers."""
    logged_at_step: int
    """The last logged step."""
    shared_steps: int
    """Optimizer steps taken by the trunk; 0 for a trial that is no branch."""
    shared_train_seconds: float
    """Training time of the trunk up to the branch point."""
    files: FileChecksums
    """Size and checksum of every file but this one."""

    def to_document(self) -> JsonObject:
        """Return the manifest as it is stored."""
        first, *later = map(asdict, self.segment_settings)
        return {
            **asdict(self.identity),
            **first,
            **({"after_changes": later} if later else {}),
            "train_seconds": self.train_seconds,
            "unlogged_loss": self.unlogged_loss,
            "logged_at_step": self.logged_at_step,
            "shared_steps": self.shared_steps,
            "shared_train_seconds": self.shared_train_seconds,
            "files": self.files,
        }

    @classmethod
    def from_document(cls, document: JsonObject) -> CheckpointManifest:
        """Rebuild a manifest from `to_document`."""
        return cls(
            CheckpointIdentity(document["fingerprint"], document["engine"], document["workers"]),
            tuple(_read_settings(values) for values in (document, *document.get("after_changes", ()))),
            document["train_seconds"],
            document["unlogged_loss"],
            document["logged_at_step"],
            document.get("shared_steps", 0),
            document.get("shared_train_seconds", 0.0),
            document["files"],
        )


def _read_settings(values: Mapping[str, Any]) -> AppliedSettings:
    names = [field.name for field in fields(AppliedSettings)]
    return AppliedSettings(**{name: values[name] for name in names if name in values})


def read_manifest(checkpoint: Path) -> CheckpointManifest:
    """Read the manifest of a checkpoint.

    Raises:
        StoreError: it cannot be read.
    """
    path = checkpoint / MANIFEST_FILE
    try:
        return CheckpointManifest.from_document(read_json(path))
    except (KeyError, TypeError) as error:
        raise StoreError(str(path), found=f"not a checkpoint manifest: {error!r}") from error


def write_manifest(checkpoint: Path, manifest: CheckpointManifest) -> None:
    """Write the manifest, which makes the checkpoint complete."""
    write_json(checkpoint / MANIFEST_FILE, manifest.to_document())


def find_checkpoint_problem(checkpoint: Path, identity: CheckpointIdentity) -> str:
    """Return why a trial of this identity cannot continue from a checkpoint; empty where it can."""
    if not checkpoint.is_dir():
        return "missing"
    if not (checkpoint / MANIFEST_FILE).exists():
        return "incomplete: its writer was interrupted"
    try:
        manifest = read_manifest(checkpoint)
    except StoreError as error:
        return error.found
    if manifest.identity != identity:
        return "written by another trial, another engine or another number of workers"
    for name, (size, checksum) in manifest.files.items():
        file = checkpoint / name
        if not file.is_file() or file.stat().st_size != size or _compute_checksum(file) != checksum:
            return f"{name} is damaged: its size or checksum differs from the manifest"
    return ""


def find_other_writer(checkpoint: Path, identity: CheckpointIdentity) -> str:
    """Describe the writer of a complete checkpoint of this trial if it is another engine or number of workers.

    Returns an empty string otherwise.
    """
    try:
        writer = read_manifest(checkpoint).identity
    except StoreError:
        return ""
    is_same_trial = writer.fingerprint == identity.fingerprint and writer != identity
    return str(writer) if is_same_trial and not find_checkpoint_problem(checkpoint, writer) else ""


def parse_checkpoint_step(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint, from its name."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def compute_file_checksums(checkpoint: Path) -> FileChecksums:
    """Return size and checksum of every file of a checkpoint except its manifest."""
    return {
        str(file.relative_to(checkpoint)): [file.stat().st_size, _compute_checksum(file)]
        for file in sorted(checkpoint.rglob("*"))
        if file.is_file() and file.name != MANIFEST_FILE
    }


def _compute_checksum(path: Path) -> int:
    """Return the CRC-32: a guard against damage, not against malice."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum
