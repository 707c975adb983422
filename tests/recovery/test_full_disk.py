"""A disk that fills up while a trial trains on it: it waits until there is room, and ends as if nothing had been."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from parts import report_missing
from watching import saved, until

from sweeper.storage import Store
from sweeper.training import read_record

RUN = ["run", "quickstart", "--backend", "inline", "--tracking", "none"]
for asked in (
    "claims=[]",
    "evaluation=null",
    "axes={model: [opt-tiny-32], num_train_epochs: [1], seed: [0]}",
    "recipe.warmup_steps=10",
    "data.toolworld={train_queries: 1500, validation_queries: 20, test_queries_per_subset: 1}",
):
    RUN += ["--set", asked]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        report_missing("a small file system cannot be mounted: not root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_full_disk_is_waited_for(small_disk: Path, tmp_path: Path) -> None:
    undisturbed, store = Store(tmp_path / "undisturbed"), Store(small_disk / "store")
    warm.sweeper(*RUN, "--storage", undisturbed.root)
    (trial,) = [path.parent.name for path in undisturbed.root.glob("trials/*/record.json")]
    said = tmp_path / "said"
    run = warm.start(*RUN, "--storage", store.root, output=said)
    until(lambda: saved(store, trial), run)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 65536)
    time.sleep(4)  # some checkpoints are due in it
    assert not store.record_path(trial).exists()
    ballast.unlink()
    assert run.wait(timeout=400) == 0, said.read_text()
    record, expected = (read_record(s.record_path(trial)) for s in (store, undisturbed))
    assert record is not None
    assert expected is not None
    assert record.metrics["val_loss"] == expected.metrics["val_loss"]
