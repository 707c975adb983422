"""A real study on a real Ray cluster, scraped by a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from expressions import FOLDER, alerts, metrics_in, panel_queries

from sweeper import cluster
from sweeper.cluster import LocalCluster
from sweeper.cluster import local_cluster as local
from sweeper.config.yaml_lines import read_yaml_as_dict, write_yaml
from sweeper.storage import Store, read_json

SWEEP = [
    "name=watched",
    "claims=[]",
    "axes={model: [opt-tiny-32, opt-tiny-64], num_train_epochs: [4], seed: [0]}",
    "recipe.warmup_steps=2",
    "data.toolworld={train_queries: 160, validation_queries: 6, test_queries_per_subset: 1}",
    "runtime={opt-tiny-32: {engine: ddp, workers: 2, cpus: 1}, default: {engine: single, cpus: 1, gpus: 1}}",
]
"""One trial in a warm actor with a fake GPU, and one of two workers under Ray Train, which cannot have fake GPUs."""

GPU = """
import sys
from pathlib import Path
from types import SimpleNamespace
import ray
from sweeper.storage import Store
from sweeper.tracking import Tracker
from sweeper.training import TrainingProgress
ray.init(address=sys.argv[1], log_to_driver=False)
runtime = SimpleNamespace(gpus=1, workers=1)
spec = SimpleNamespace(model=SimpleNamespace(name="made-up"), seed=0, runtime=runtime)
trial = SimpleNamespace(fingerprint="0", spec=spec)
with Tracker("none", "made-up", Store(Path(sys.argv[2]))).open_trial(trial) as track:
    track.log(TrainingProgress(0, 0, gpu_memory_bytes=1e9))
    sys.stdin.readline()
"""
"""Publishes a made-up GPU memory, since a run without CUDA has none."""


class Prometheus:
    """A server that scrapes one cluster every second."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: Any) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def series(self, query: str, start: float) -> list[dict[str, Any]]:
        """Return the results of a query at every second since `start`."""
        found: list[dict[str, Any]] = self.get("query_range", query=query, start=start, end=time.time(), step=1)
        return found["result"]  # type: ignore[call-overload, no-any-return]


@dataclass
class Watched:
    """A finished run, and what was observed of it while it ran."""

    prometheus: Prometheus
    store: Store
    started: float
    output: str
    jobs: list[dict[str, Any]] = field(default_factory=list)
    actors: list[dict[str, Any]] = field(default_factory=list)
    train_runs: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        yield Path(folder) / "cluster"


@pytest.fixture(scope="module")
def one_node(state: Path) -> Iterator[LocalCluster]:
    """Two CPUs and two fake GPUs."""
    yield cluster.start_local_cluster(1, gpus_per_node=2, cpus_per_node=2, folder=state)
    cluster.stop_local_cluster(state)


@pytest.fixture(scope="module")
def prometheus(
    prometheus_program: str, one_node: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A server with the project's configuration, except for the path of Ray's file and the intervals."""
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = read_yaml_as_dict(FOLDER / "prometheus.yaml")
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(FOLDER / "alerts.yaml")]
    (job,) = configuration["scrape_configs"]
    discovery = job["file_sd_configs"][0]
    discovery |= {"files": [f"{one_node.scratch}/0/prom_metrics_service_discovery.json"], "refresh_interval": "1s"}
    write_yaml(folder / "prometheus.yaml", configuration)
    (port,) = local._find_free_ports(1)
    words = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [prometheus_program, *words, f"--web.listen-address=127.0.0.1:{port}"], stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + 60
        while not local._is_listening(port):
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(timeout=30)


def read_dashboard(one_node: LocalCluster, path: str) -> Any:
    """Return the reply of Ray's dashboard, None without one."""
    headers = {"Authorization": f"Bearer {Path(one_node.token).read_text()}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{one_node.dashboard}{path}", headers=headers)) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


@pytest.fixture(scope="module")
def watched(
    one_node: LocalCluster, prometheus: Prometheus, state: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Watched:
    """Run a study from the command line, and poll the dashboard every second."""
    storage, started = tmp_path_factory.mktemp("store"), time.time()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"SWEEPER_CLUSTER": str(state)}
    command = [
        sys.executable,
        "-m",
        "sweeper",
        "run",
        "quickstart",
        "--address",
        "local",
        "--storage",
        str(storage),
    ]
    command += [word for text in SWEEP for word in ("--set", text)]
    log = storage / "log"
    with log.open("wb") as output:
        run = subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=output)
    gpu = subprocess.Popen(
        [sys.executable, "-c", GPU, one_node.address, str(storage)],
        env=environment | one_node.environment,
        stdin=subprocess.PIPE,
    )
    seen = Watched(prometheus, Store(storage), started, "")
    actors: dict[str, dict[str, Any]] = {}
    try:
        while run.poll() is None:
            assert time.time() - started < 500, log.read_text()
            seen.jobs = read_dashboard(one_node, "/api/jobs/") or seen.jobs
            rows = read_dashboard(one_node, "/api/v0/actors?detail=1")
            for actor in rows["data"]["result"]["result"] if rows else []:
                actors[actor["actor_id"]] = actor
            runs = read_dashboard(one_node, "/api/train/v2/runs/v1")
            seen.train_runs = (runs or {}).get("train_runs") or seen.train_runs
            time.sleep(1)
    finally:
        run.kill()
    seen.actors, seen.output = list(actors.values()), log.read_text()
    assert run.returncode == 0, seen.output
    deadline = time.monotonic() + 120  # Ray exports every ten seconds
    while not prometheus.series("ray_sweeper_gpu_memory_bytes", started):
        assert gpu.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    gpu.communicate(b"\n", timeout=60)
    assert gpu.returncode == 0
    return seen


def trials(watched: Watched) -> dict[str, str]:
    rows = read_json(watched.store.study_folder("watched") / "plan.json")["trials"]
    return {row["fingerprint"]: row["model"] for row in rows}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
class TestWatchedRun:
    def test_every_dashboard_query_returns_data(self, watched: Watched) -> None:
        empty = [
            name for name, query in panel_queries().items() if not watched.prometheus.series(query, watched.started)
        ]
        assert empty == []

    def test_every_alert_evaluates_on_existing_metrics(self, watched: Watched) -> None:
        for name, expression in alerts().items():
            watched.prometheus.get("query", query=expression)
            for metric in metrics_in(expression):
                assert watched.prometheus.series(metric, watched.started), (name, metric)
        (group,) = watched.prometheus.get("rules")["groups"]
        assert {rule["name"]: rule["health"] for rule in group["rules"]} == dict.fromkeys(alerts(), "ok")

    def test_prometheus_and_the_records_agree(self, watched: Watched) -> None:
        # A worker that ends with its trial loses what it published after Ray's last export, up to 10 s.
        for fingerprint in trials(watched):
            record = read_json(watched.store.record_path(fingerprint))
            of = f'{{study="watched", trial="{fingerprint}"}}'
            (status,) = watched.prometheus.series(f"ray_sweeper_trial_status{of}", watched.started)
            assert status["values"][-1][1] == "3", "COMPLETE"
            (done,) = watched.prometheus.series(f"ray_sweeper_step{of}", watched.started)
            (to_do,) = watched.prometheus.series(f"ray_sweeper_steps{of}", watched.started)
            assert {float(value) for _, value in to_do["values"]} == {record["metrics"]["steps"]}
            steps = [float(value) for _, value in done["values"]]
            history = pd.read_parquet(watched.store.trial_folder(fingerprint) / "history.parquet")
            assert steps == sorted(steps)
            assert set(steps) <= set(history["step"])
            for name in ("loss", "val_loss", "grad_norm"):
                (series,) = watched.prometheus.series(f"ray_sweeper_{name}{of}", watched.started)
                logged = history[name].dropna().tolist()
                assert all(float(value) in logged for _, value in series["values"]), name
            paces = watched.prometheus.series(f"ray_sweeper_tokens_per_second{of}", watched.started)[0]["values"]
            assert all(float(pace) > 0 for _, pace in paces)

    def test_gpu_seconds_count_the_time_that_gpus_were_held(self, watched: Watched) -> None:
        counted = 'sum by (trial) (max_over_time(ray_sweeper_gpu_seconds_total{study="watched"}[1h]))'
        ((fingerprint, seconds),) = [
            (found["metric"]["trial"], float(found["value"][1]))
            for found in watched.prometheus.get("query", query=counted)["result"]
        ]
        assert trials(watched)[fingerprint] == "opt-tiny-64", "the other trial has no GPU"
        assert 0 < seconds < time.time() - watched.started

    def test_gauges_of_an_ended_trial_disappear(self, watched: Watched) -> None:
        until = time.monotonic() + 90
        while (left := watched.prometheus.get("query", query='ray_sweeper_step{study="watched"}')["result"]) and (
            time.monotonic() < until
        ):
            time.sleep(1)
        assert left == []

    def test_series_have_only_four_labels(self, watched: Watched) -> None:
        rays = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId", "instance", "job", "__name__"}
        (series, *_) = watched.prometheus.series('ray_sweeper_loss{study="watched"}', watched.started)
        ours = {name for name in series["metric"] if not name.startswith("otel_")} - rays
        assert ours == {"study", "trial", "model", "seed"}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
class TestRayDashboard:
    def test_study_is_a_job(self, watched: Watched) -> None:
        (job,) = [job for job in watched.jobs if "quickstart" in str(job["entrypoint"])]
        assert "name=watched" in job["entrypoint"]

    def test_actors_are_named_after_study_and_arm(self, watched: Watched) -> None:
        names = {actor["repr_name"] for actor in watched.actors if actor["class_name"] == "watched"}
        arms = {re.sub(r"^first: ", "", name) for name in names}
        assert arms
        assert arms <= {f"{model}-epochs4-seed0-{fingerprint[:6]}" for fingerprint, model in trials(watched).items()}

    def test_trial_of_several_workers_is_a_train_run(self, watched: Watched) -> None:
        (fingerprint,) = [f for f, model in trials(watched).items() if model == "opt-tiny-32"]
        (run,) = watched.train_runs
        assert run["name"].startswith(f"train-{fingerprint}-")
