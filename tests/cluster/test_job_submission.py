"""Submission of sweeps through Ray's job API, and its errors."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import reserve_refusing_port

from sweeper import cluster
from sweeper.cluster import LocalCluster
from sweeper.errors import SweeperError, UsageError
from sweeper.storage import Store, read_json

SWEEP = """
name: one-trial
question: Does a submitted sweep train on the cluster?
recipe: tiny
data: {extends: toolworld, toolworld: {seed: 1, train_queries: 240}}
evaluation: null
axes: {model: [opt-tiny-32], num_train_epochs: [1], seed: [0]}
claims: []
runtime: {default: {engine: single, cpus: 1, gpus: 1}}
"""


def environment(state: Path, **more: str) -> dict[str, str]:
    """A clean environment, for commands that look for the local cluster's state in `state`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return clean | {"SWEEPER_CLUSTER": str(state)} | more


def submit_command(sweep: Path, address: str, storage: Path) -> list[str]:
    """`sweeper cluster submit` in a process of its own: Ray reads its token settings when it is imported."""
    command = [sys.executable, "-m", "sweeper", "cluster", "submit", str(sweep)]
    return [*command, "--address", address, "--storage", str(storage)]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A sweep with its own config beside it, which must be submitted with it."""
    folder = tmp_path_factory.mktemp("question")
    (folder / "configs" / "recipes").mkdir(parents=True)
    (folder / "configs" / "recipes" / "tiny.yaml").write_text((root / "configs/recipes/miniature.yaml").read_text())
    (folder / "one-trial.yaml").write_text(SWEEP)
    return folder / "one-trial.yaml"


def stop_job(running: LocalCluster, job: str) -> None:
    """Stop a job through the cluster's job API, and wait for its end."""
    headers = {"Authorization": f"Bearer {Path(running.token).read_text()}"}
    url = f"{running.dashboard}/api/jobs/{job}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/stop", method="POST", headers=headers)).close()
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            status = json.load(answer)["status"]
        if status == "STOPPED":
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.ray
class TestOnTwoNodes:
    """The trial requests a fake GPU: it waits for it as for a real one, and trains on the CPU."""

    def send(
        self, sweep: Path, address: str, storage: Path, state: Path, **more: str
    ) -> subprocess.CompletedProcess[str]:
        command = submit_command(sweep, address, storage)
        return subprocess.run(command, env=environment(state, **more), capture_output=True, text=True, timeout=280)

    def test_submitted_sweep_trains_and_its_log_is_followed(
        self, two_nodes: LocalCluster, state: Path, sweep: Path, tmp_path: Path
    ) -> None:
        # Ray prefers RAY_ADDRESS to an explicit address; the explicit one must be used.
        done = self.send(sweep, "local", tmp_path, state, RAY_ADDRESS="http://127.0.0.1:9")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "job raysubmit_" in done.stdout.splitlines()[0]
        assert two_nodes.dashboard in done.stdout.splitlines()[0]
        assert "done; next: sweeper report one-trial" in done.stdout
        store = Store(tmp_path)
        (trial,) = read_json(store.study_folder("one-trial") / "plan.json")["trials"]
        assert read_json(store.record_path(trial["fingerprint"]))["status"] == "COMPLETE"

    @pytest.mark.parametrize("reached", ["dashboard", "client_server"])
    def test_failed_job_returns_its_exit_code(
        self, reached: str, two_nodes: LocalCluster, state: Path, sweep: Path, tmp_path: Path
    ) -> None:
        blocked = tmp_path / "a file"
        blocked.touch()  # as --storage: `sweeper run` rejects it with exit code 2
        done = self.send(sweep, getattr(two_nodes, reached), blocked, state)
        assert done.returncode == 2, done.stdout + done.stderr
        assert re.search(r"found: +a file", done.stdout)

    def test_client_server_that_fails_to_start_a_process_is_retried(self, two_nodes: LocalCluster, state: Path) -> None:
        """About 1 in 60 connections fails this way. The error is injected where the client receives it."""
        code = """
import os, sys
from pathlib import Path
from sweeper.cluster import job_submission, make_client_environment
os.environ.update(make_client_environment(sys.argv[1], Path(sys.argv[2])))
from ray.util.client.worker import Worker
real, times = Worker._server_init, int(sys.argv[3])
def init(*arguments):
    global times
    times -= 1
    if times >= 0:
        raise ConnectionAbortedError("Starting Ray client server failed.")
    return real(*arguments)
Worker._server_init = init
print(job_submission._find_dashboard(sys.argv[1]))
"""
        command = [sys.executable, "-c", code, two_nodes.client_server, str(state)]
        done = subprocess.run([*command, "2"], env=environment(state), capture_output=True, text=True, timeout=120)
        assert f"http://{done.stdout.strip()}" == two_nodes.dashboard, done.stderr
        never = subprocess.run([*command, "99"], env=environment(state), capture_output=True, text=True, timeout=120)
        assert "Starting Ray client server failed" in never.stderr.splitlines()[-2], never.stderr

    def test_missing_token_is_an_error(self, two_nodes: LocalCluster, sweep: Path, tmp_path: Path) -> None:
        unknown = tmp_path / "no state"  # so that the cluster is not known as the local one
        done = self.send(sweep, two_nodes.dashboard, tmp_path, unknown, HOME=str(tmp_path))
        assert done.returncode == 1
        assert "~/.ray/auth_token" in done.stderr
        assert "Traceback" not in done.stderr

    def test_ctrl_c_leaves_the_job_running(
        self, two_nodes: LocalCluster, state: Path, sweep: Path, tmp_path: Path
    ) -> None:
        sender = subprocess.Popen(
            submit_command(sweep, "local", tmp_path),
            env=environment(state),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert sender.stdout is not None
        assert "job raysubmit_" in sender.stdout.readline()
        sender.send_signal(signal.SIGINT)
        _, stderr = sender.communicate(timeout=60)
        assert sender.returncode == 130, stderr
        assert "keeps running" in stderr
        job = re.search(r"ray job stop .*(raysubmit_\w+)", stderr)
        assert job is not None, stderr
        stop_job(two_nodes, job.group(1))  # it would take GPUs that the next test counts on


@pytest.fixture
def not_ray() -> Iterator[str]:
    """A web server other than Ray."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class TestRefusals:
    def submit(self, sweep: Path | str, address: str, storage: str = "/store", folder: Path = Path("/none")) -> int:
        return cluster.submit_sweep(str(sweep), address, storage=storage, folder=folder)

    @pytest.mark.parametrize("kind", ["http", "ray"])
    def test_unreachable_cluster_is_an_error(self, kind: str, sweep: Path) -> None:
        port = reserve_refusing_port()
        with pytest.raises(SweeperError, match="connection failed") as refused:
            self.submit(sweep, f"{kind}://127.0.0.1:{port}")
        assert str(refused.value).splitlines()[1] == f"  requested: --address {kind}://127.0.0.1:{port}"
        assert "port-forward" in refused.value.hint

    def test_server_other_than_ray_is_an_error(self, sweep: Path, not_ray: str) -> None:
        with pytest.raises(SweeperError, match="is this the dashboard of a Ray cluster"):
            self.submit(sweep, not_ray)

    @pytest.mark.parametrize("address", ["head:8265", "auto", "http://", "ray://"])
    def test_address_that_accepts_no_jobs_is_an_error(self, sweep: Path, address: str) -> None:
        with pytest.raises(UsageError, match="neither a dashboard"):
            self.submit(sweep, address)

    def test_missing_local_cluster_is_an_error(self, sweep: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no local cluster") as refused:
            self.submit(sweep, "local", folder=tmp_path)
        assert "up-local" in refused.value.hint

    def test_relative_storage_is_an_error(self, sweep: Path) -> None:
        with pytest.raises(UsageError, match="a relative path"):
            self.submit(sweep, "http://127.0.0.1:9", storage="storage")

    def test_invalid_sweep_is_reported_before_the_cluster_is_contacted(self, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text("name: wrong\nquestion: None?\nrecipe: miniatur\ndata: toolworld\naxes: {seed: [0]}\n")
        with pytest.raises(UsageError, match=r"wrong\.yaml"):
            self.submit(wrong, "http://127.0.0.1:9")


def test_bundle_sweep_contains_its_configs(sweep: Path, tmp_path: Path, root: Path) -> None:
    cluster.bundle_sweep(sweep, tmp_path)
    packed = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.yaml")}
    assert {"sweeps/one-trial.yaml", "configs/recipes/tiny.yaml"} <= packed


def test_bundle_sweep_contains_combined_sweeps(tmp_path: Path, root: Path) -> None:
    cluster.bundle_sweep(root / "sweeps" / "paper.yaml", tmp_path)
    packed = {path.name for path in (tmp_path / "sweeps").iterdir()}
    assert {"paper.yaml", "scaling.yaml", "epochs.yaml"} <= packed
    assert (tmp_path / "configs" / "rehearsal.yaml").is_file()


def test_bundle_sweep_prefers_the_sweeps_own_configs(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, bundle = tmp_path / "elsewhere", tmp_path / "bundle"
    (elsewhere / "configs" / "recipes").mkdir(parents=True)
    (elsewhere / "configs" / "recipes" / "tiny.yaml").write_text("elsewhere")
    bundle.mkdir()
    monkeypatch.chdir(elsewhere)
    cluster.bundle_sweep(sweep, bundle)
    assert "elsewhere" not in (bundle / "configs" / "recipes" / "tiny.yaml").read_text()
