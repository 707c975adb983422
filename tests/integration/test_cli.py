"""The commands as a user types them, before anything is run: help, plans, data, status, doctor."""

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
    assert planned["cluster"]["concurrency"] == 12
    assert planned["cluster"]["makespan_hours"] > 0
    shown = sweeper("plan", "quickstart", *asked).stdout
    assert "at most 12 trials at once" in shown
    whole = sweeper("plan", "quickstart", *more, "--set", "runtime={default: {cpus: 64, gpus: 1}}", code=2)
    assert "too much even for the empty cluster" in whole.stderr
    assert "available_node_types" in sweeper("plan", "quickstart", "--cluster", "sweeps/scaling.yaml", code=2).stderr


def test_help_teaches() -> None:
    for command in ("plan", "run", "status", "report", "doctor", "data"):
        assert command in sweeper("--help").stdout
    assert "--set" in sweeper("run", "--help").stdout


def plan_of(*asked: str) -> Any:
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
    planned = plan_of(str(path), *overrides)
    assert planned["problems"] == []
    for trial in planned["trials"]:
        assert len(trial["fingerprint"]) == 16
        assert trial["parameters"] > 10_000
        assert {"model", "seed", "engine", "learning_rate", "max_grad_norm", "num_train_epochs"} <= set(trial)


@pytest.mark.parametrize("name", ["scaling", "paper"])
def test_rehearsal_is_planned_with_nothing_but_this_machine(name: str, tmp_path: Path) -> None:
    planned = plan_of(name, "--smoke-test", "--storage", str(tmp_path))
    assert planned["sweep"] == f"{name}-rehearsal"
    assert planned["problems"] == []
    assert all(len(trial["fingerprint"]) == 16 and trial["gpus"] == 0 for trial in planned["trials"])


def test_usage_errors_are_code_2_and_start_nothing(tmp_path: Path, tiny: Path) -> None:
    store = tmp_path / "store"
    tiny.write_text(TINY.replace("axes:", "axis:"))
    wrong = sweeper("run", str(tiny), "--storage", str(store), code=2)
    assert "tiny.yaml:9" in wrong.stderr
    assert "did you mean `axes`" in wrong.stderr
    sweeper("run", "no-such-sweep", "--storage", str(store), code=2)
    sweeper("run", "quickstart", "--backend", "slurm", "--storage", str(store), code=2)
    sweeper("run", "quickstart", "--storage", "nothing://bucket", code=2)
    assert "data.path" in sweeper("run", "toolbench-sample", "--storage", str(store), code=2).stderr
    assert "data.path" in sweeper("plan", "toolbench-sample", code=2).stderr
    assert not store.exists()


def test_status_before_anything_ran(tmp_path: Path, tiny: Path) -> None:
    rows = document("status", str(tiny), "--storage", str(tmp_path / "none"))["trials"]
    assert [row["status"] for row in rows] == ["PENDING"] * 4
    assert all(row["metrics"]["pass_rate"] is None for row in rows)


def test_doctor_examines_this_machine() -> None:
    found = document("doctor")
    assert found["ok"]
    assert {"python", "torch", "ray", "gpu", "disk"} <= {check["name"] for check in found["checks"]}


SHORT = ("--model", "opt-tiny-32")


def test_prepare_export_and_leakage(tmp_path: Path) -> None:
    export_world(build_world(WorldConfig(train_queries=9, validation_queries=3, test_queries_per_subset=1)), tmp_path)
    asked = ("data", "prepare", str(tmp_path / "answer"), "--model", "opt-tiny-32-long", "--max-length", "500")
    asked += ("--fit", "keep-target", "--storage", str(tmp_path / "store"))
    manifest = document(*asked)
    assert manifest["fit_policy"] == "keep-target"
    assert manifest["fit"]["prompts_cut"] == manifest["truncated"] > 0
    assert Path(manifest["directory"], "rows.arrow").is_file()
    assert len(manifest["source"]["sha256"]) == 64
    assert "licence" in manifest
    assert document(*asked) == manifest
    assert "license" in sweeper(*asked).stdout
    out = tmp_path / "released.json"
    written = document("data", "export", str(tmp_path / "answer"), "--format", "toolllama", "--out", str(out))
    assert written["conversations"] == manifest["read"] == len(json.loads(out.read_text()))
    again = document("data", "inspect", str(out), "--model", "opt-tiny-32-long")
    assert (again["source"]["kind"], again["source"]["files"]) == ("toolllama", 1)
    excluded = tmp_path / "exclude.tsv"
    audit = ("data", "leakage", str(out), str(tmp_path), "--threshold", "0.3", "--out", str(excluded))
    found = document(*audit)
    assert [row["queries"] for row in found["subsets"]] == [1] * 6
    assert len(excluded.read_text().splitlines()) == len(found["exclude"])
    assert "G3_instruction" in sweeper(*audit).stdout
    sweeper("data", "leakage", str(out), str(tmp_path / "none"), code=2)


def test_inspect_an_export_and_the_real_sample(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    export_world(build_world(WorldConfig(train_queries=9, validation_queries=3, test_queries_per_subset=1)), tmp_path)
    found = document("data", "inspect", str(tmp_path / "answer"), "--model", "opt-tiny-32-long")
    assert (found["valid_queries"], found["max_length"], found["source"]["kind"]) == (9, 2048, "answers")
    assert found["examples"] > 9
    assert {"p50", "p90", "max"} == set(found["prompt_tokens"]) == set(found["target_tokens"])
    assert set(found["fit"]) == {"strict", "keep-target", "compact-apis", "truncate"}
    assert document("data", "inspect", str(tmp_path / "answer"), "--model", "opt-tiny-32")["max_length"] == 512
    refused = sweeper("data", "inspect", str(tmp_path / "answer"), *SHORT, "--max-length", "513", code=2)
    assert "513" in refused.stderr
    assert "512" in refused.stderr
    longer = ("--max-length", "513", "--extend-positions", "--fit", "compact-apis")
    assert document("data", "inspect", str(tmp_path / "answer"), *SHORT, *longer)["fit_policy"] == "compact-apis"
    sweeper("data", "inspect", "toolworld", *SHORT, "--fit", "sometimes", code=2)
    sweeper("data", "inspect", str(tmp_path / "nothing"), "--model", "opt-tiny-32", code=2)
    sweeper("data", "inspect", "toolworld", "--model", "opt-tiny-33", code=2)
    real = request.getfixturevalue("real_toolbench")
    assert document("data", "inspect", str(real / "answer"), "--model", "opt-tiny-32-long")["valid_queries"] == 6
