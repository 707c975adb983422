"""The commands of a study before anything is run: plans, refusals, status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, TINY, document, sweeper
from typer.testing import CliRunner

from sweeper.cli.app import app
from sweeper.config import load_sweep
from sweeper.toolworld import WorldConfig, build_world, export_world

pytestmark = pytest.mark.slow  # every one starts processes


def test_plan_for_a_cluster_says_what_fits_and_how_long(tmp_path: Path) -> None:
    more = ["--cluster", "cluster/aws/g5.yaml", "--storage", str(tmp_path)]
    asked = [*more, "--set", "runtime={default: {engine: auto, gpus: 0.5}}"]
    planned = document("plan", "quickstart", *asked)
    for trial in planned["trials"]:
        assert (trial["engine"], trial["workers"], trial["gpus"], trial["fits"]) == ("single", 1, 0.5, True)
        assert 0 < trial["memory_gib_predicted"] < trial["memory_gib_there"] < 12
    assert planned["cluster"]["gpus"] == 16
    assert planned["cluster"]["concurrency"] == 24
    assert planned["cluster"]["makespan_hours"] > 0
    shown = sweeper("plan", "quickstart", *asked).stdout
    assert "at most 24 trials at once" in shown
    whole = sweeper("plan", "quickstart", *more, "--set", "runtime={default: {cpus: 64, gpus: 1}}", code=2)
    assert "too much even for the empty cluster" in whole.stderr
    assert "available_node_types" in sweeper("plan", "quickstart", "--cluster", "sweeps/scaling.yaml", code=2).stderr


@pytest.fixture
def tiny_sweep(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def print_plan(*asked: str) -> Any:
    """`sweeper plan` in this process: with a dozen of sweeps, starting it is what takes time."""
    done = CliRunner().invoke(app, ["plan", *asked, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_sweep_can_be_planned(path: Path, tmp_path: Path) -> None:
    overrides = []
    asked = load_sweep(path)
    if asked.data.source == "toolbench":
        export_world(
            build_world(WorldConfig(train_queries=6, validation_queries=3, test_queries_per_subset=1)), tmp_path
        )
        overrides = ["--set", f"data.path={tmp_path / 'answer'}", "--accept-underpowered"]
        if asked.evaluation is not None:
            overrides += ["--set", f"evaluation.queries={tmp_path}"]
    planned = print_plan(str(path), *overrides)
    assert planned["problems"] == []
    for trial in planned["trials"]:
        assert len(trial["fingerprint"]) == 16
        assert trial["parameters"] > 10_000
        assert {"model", "seed", "engine", "learning_rate", "max_grad_norm", "num_train_epochs"} <= set(trial)


@pytest.mark.parametrize("name", ["scaling", "paper"])
def test_smoke_test_is_planned_with_nothing_but_this_machine(name: str, tmp_path: Path) -> None:
    planned = print_plan(name, "--smoke-test", "--storage", str(tmp_path))
    assert planned["sweep"] == f"{name}-rehearsal"
    assert planned["problems"] == []
    assert all(len(trial["fingerprint"]) == 16 and trial["gpus"] == 0 for trial in planned["trials"])


def test_usage_errors_are_code_2_and_start_nothing(tmp_path: Path, tiny_sweep: Path) -> None:
    store = tmp_path / "store"
    tiny_sweep.write_text(TINY.replace("axes:", "axis:"))
    wrong = sweeper("run", str(tiny_sweep), "--storage", str(store), code=2)
    assert "tiny.yaml:9" in wrong.stderr
    assert "did you mean `axes`" in wrong.stderr
    sweeper("run", "no-such-sweep", "--storage", str(store), code=2)
    sweeper("run", "quickstart", "--backend", "slurm", "--storage", str(store), code=2)
    sweeper("run", "quickstart", "--storage", "nothing://bucket", code=2)
    assert "data.path" in sweeper("run", "toolbench-sample", "--storage", str(store), code=2).stderr
    assert "data.path" in sweeper("plan", "toolbench-sample", code=2).stderr
    assert not store.exists()


def test_status_before_anything_ran_is_refused(tmp_path: Path, tiny_sweep: Path) -> None:
    refused = sweeper("status", str(tiny_sweep), "--storage", str(tmp_path / "none"), code=2)
    assert "it has not run in" in refused.stderr
    assert refused.stdout == ""
