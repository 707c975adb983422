"""A checkpoint is complete once its manifest is written, and refused once it differs from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.errors import StoreError
from sweeper.training.checkpoint_manifest import (
    MANIFEST_FILE,
    CheckpointIdentity,
    CheckpointManifest,
    compute_file_checksums,
    find_checkpoint_problem,
    find_other_writer,
    parse_checkpoint_step,
    read_manifest,
    write_manifest,
)
from sweeper.training.step_readings import AppliedSettings

IDENTITY = CheckpointIdentity("f", "zero2", 2)
SETTINGS = AppliedSettings(
    values={"weight_decay": [0.01], "max_grad_norm": [None]}, peak_learning_rate=0.1, peak_steps=[3, 9], norms_read=3
)


def make_manifest(checkpoint: Path, *segments: AppliedSettings) -> CheckpointManifest:
    return CheckpointManifest(
        IDENTITY, segments or (SETTINGS,), 12.5, 0.25, 9, 4, 3.5, compute_file_checksums(checkpoint)
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A complete checkpoint of two files, one in a subfolder."""
    folder = tmp_path / "checkpoint-12"
    (folder / "global_step12").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "global_step12" / "part.pt").write_bytes(b"state")
    write_manifest(folder, make_manifest(folder))
    return folder


@pytest.mark.parametrize("segments", [1, 3])
def test_read_manifest_restores_what_was_written(checkpoint: Path, segments: int) -> None:
    manifest = make_manifest(checkpoint, *(replace(SETTINGS, norms_read=k) for k in range(segments)))
    write_manifest(checkpoint, manifest)
    assert read_manifest(checkpoint) == manifest


def test_read_manifest_of_a_trial_without_branches_has_no_shared_steps(checkpoint: Path) -> None:
    path = checkpoint / MANIFEST_FILE
    document = json.loads(path.read_text())
    del document["shared_steps"], document["shared_train_seconds"], document["sha256"]
    path.write_text(json.dumps(document))
    manifest = read_manifest(checkpoint)
    assert (manifest.shared_steps, manifest.shared_train_seconds) == (0, 0.0)


def test_compute_file_checksums_covers_subfolders_and_not_the_manifest(checkpoint: Path) -> None:
    checksums = compute_file_checksums(checkpoint)
    assert set(checksums) == {"model.safetensors", "global_step12/part.pt"}
    assert [size for size, _ in checksums.values()] == [5, 7]


def test_find_checkpoint_problem_accepts_a_complete_checkpoint(checkpoint: Path) -> None:
    assert find_checkpoint_problem(checkpoint, IDENTITY) == ""


def test_find_checkpoint_problem_of_a_missing_or_incomplete_checkpoint(checkpoint: Path) -> None:
    assert find_checkpoint_problem(checkpoint.parent / "checkpoint-13", IDENTITY) == "missing"
    (checkpoint / MANIFEST_FILE).unlink()
    assert find_checkpoint_problem(checkpoint, IDENTITY).startswith("incomplete")


@pytest.mark.parametrize("content", ["[]", "{}", '{"fingerprint": "f"}', "{"])
def test_find_checkpoint_problem_of_an_unreadable_manifest(checkpoint: Path, content: str) -> None:
    (checkpoint / MANIFEST_FILE).write_text(content)
    with pytest.raises(StoreError):
        read_manifest(checkpoint)
    assert find_checkpoint_problem(checkpoint, IDENTITY) != ""
    assert find_other_writer(checkpoint, IDENTITY) == ""


@pytest.mark.parametrize("other", [{"fingerprint": "g"}, {"engine": "zero3"}, {"workers": 4}])
def test_find_checkpoint_problem_of_another_writer(checkpoint: Path, other: dict[str, str | int]) -> None:
    assert "written by another" in find_checkpoint_problem(checkpoint, replace(IDENTITY, **other))  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [b"weightz", b"weights+", None])
def test_find_checkpoint_problem_names_the_damaged_file(checkpoint: Path, damage: bytes | None) -> None:
    file = checkpoint / "model.safetensors"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    assert find_checkpoint_problem(checkpoint, IDENTITY).startswith("model.safetensors is damaged")


def test_find_other_writer_describes_only_a_complete_checkpoint_of_the_same_trial(checkpoint: Path) -> None:
    assert find_other_writer(checkpoint, replace(IDENTITY, engine="single", workers=1)) == "engine zero2, 2 workers"
    assert find_other_writer(checkpoint, IDENTITY) == "", "the same writer"
    assert find_other_writer(checkpoint, CheckpointIdentity("g", "single", 1)) == "", "another trial"
    (checkpoint / "model.safetensors").unlink()
    assert find_other_writer(checkpoint, CheckpointIdentity("f", "single", 1)) == "", "damaged: nothing is lost"


def test_parse_checkpoint_step_reads_the_name() -> None:
    assert parse_checkpoint_step(Path("/store/a-trial/checkpoints/checkpoint-120")) == 120
