"""The commands as a user types them: real processes, a real Ray, a real store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sweeper.spec import load_sweep
from sweeper.toolworld import WorldConfig, build_world, export

pytestmark = [pytest.mark.slow, pytest.mark.ray]  # every one starts processes, most of them Ray
ROOT = Path(__file__).resolve().parents[2]
TINY = """
name: tiny
question: Does it run?
recipe: {extends: miniature, warmup_steps: 2}
data:
  extends: toolworld
  toolworld: {train_queries: 160, validation_queries: 8, test_queries_per_subset: 2}
evaluation: toolworld
axes:
  model: [opt-tiny-32, opt-tiny-64]
  num_train_epochs: [1, 2]
  seed: [0]
claims: [single-epoch]
"""


def sweeper(*arguments: str, code: int = 0, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeper.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def document(*arguments: str) -> Any:
    return json.loads(sweeper(*arguments, "--json").stdout)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_a_plan_for_a_cluster_says_what_fits_and_how_long(tmp_path: Path) -> None:
    more = ["--cluster", "cluster/aws/g5.yaml", "--storage", str(tmp_path)]
    asked = [*more, "--set", "runtime={default: {engine: auto, gpus: 0.5}}"]
    planned = document("plan", "quickstart", *asked)
    for trial in planned["trials"]:
        assert (trial["engine"], trial["workers"], trial["gpus"], trial["fits"]) == ("single", 1, 0.5, True)
        assert 0 < trial["memory_gib_predicted"] < trial["memory_gib_there"] < 12
    assert planned["cluster"]["gpus"] == 16
    assert planned["cluster"]["concurrency"] == 12
    assert planned["cluster"]["makespan_hours"] is None, "data are not prepared yet"
    sweeper("data", "prepare", "toolworld", "--model", "opt-tiny-32", "--storage", str(tmp_path), "--max-length", "256")
    shown = sweeper("plan", "quickstart", *asked).stdout
    assert "at most 12 trials at once" in shown
    whole = sweeper("plan", "quickstart", *more, "--set", "runtime={default: {cpus: 64, gpus: 1}}", code=2)
    assert "does not fit the cluster even when nothing else runs" in whole.stderr
    assert "available_node_types" in sweeper("plan", "quickstart", "--cluster", "sweeps/scaling.yaml", code=2).stderr


def test_help_teaches() -> None:
    for command in ("plan", "run", "status", "report", "doctor", "data"):
        assert command in sweeper("--help").stdout
    assert "--set" in sweeper("run", "--help").stdout


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_sweep_can_be_planned(path: Path, tmp_path: Path) -> None:
    overrides = []
    asked = load_sweep(path)
    if asked.data.source == "toolbench":
        export(build_world(WorldConfig(train_queries=6, validation_queries=3, test_queries_per_subset=1)), tmp_path)
        overrides = ["--set", f"data.path={tmp_path / 'answer'}", "--accept-underpowered"]
        if asked.evaluation is not None:
            overrides += ["--set", f"evaluation.queries={tmp_path}"]
    planned = document("plan", str(path), *overrides)
    assert planned["problems"] == []
    for trial in planned["trials"]:
        assert len(trial["fingerprint"]) == 16
        assert trial["parameters"] > 10_000
        assert {"model", "seed", "engine", "learning_rate", "max_grad_norm", "num_train_epochs"} <= set(trial)


@pytest.mark.parametrize("name", ["scaling", "paper"])
def test_a_rehearsal_is_planned_with_nothing_but_this_machine(name: str, tmp_path: Path) -> None:
    planned = document("plan", name, "--rehearse", "--storage", str(tmp_path))
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
    export(build_world(WorldConfig(train_queries=9, validation_queries=3, test_queries_per_subset=1)), tmp_path)
    asked = ("data", "prepare", str(tmp_path / "answer"), "--model", "opt-tiny-32-long", "--max-length", "500")
    asked += ("--fit", "keep-target", "--storage", str(tmp_path / "store"))
    manifest = document(*asked)
    assert manifest["fit_policy"] == "keep-target"
    assert manifest["fit"]["prompts_cut"] == manifest["truncated"] > 0
    assert Path(manifest["directory"], "rows.arrow").is_file()
    assert len(manifest["source"]["sha256"]) == 64
    assert "licence" in manifest
    assert document(*asked) == manifest
    assert "licence" in sweeper(*asked).stdout
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
    export(build_world(WorldConfig(train_queries=9, validation_queries=3, test_queries_per_subset=1)), tmp_path)
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


def test_inline_run_report_and_second_run(tmp_path: Path, tiny: Path) -> None:
    store = str(tmp_path / "store")
    arguments = ("run", str(tiny), "--storage", store, "--backend", "inline", "--tracking", "none")
    sweeper(*arguments)
    before = {p: p.stat().st_mtime_ns for p in Path(store, "trials").rglob("*.*") if p.is_file() and p.name != ".lock"}
    again = sweeper(*arguments)
    assert "4 finished before, 0 to run" in again.stderr
    after = {p: p.stat().st_mtime_ns for p in Path(store, "trials").rglob("*.*") if p.is_file() and p.name != ".lock"}
    assert after == before
    rows = document("status", "tiny", "--storage", store)["trials"]
    assert [row["status"] for row in rows] == ["COMPLETE"] * 4
    assert all(0 <= row["metrics"]["pass_rate"] <= 1 and row["metrics"]["val_loss"] > 0 for row in rows)
    report = document("report", "tiny", "--storage", store)
    assert {claim["id"] for claim in report["claims"]} == {"single-epoch"}
    assert {"verdict", "estimate", "interval", "n"} <= set(report["claims"][0])
    assert len(report["trials"]) == 4
    html = Path(store, "studies", "tiny", "report.html").read_text()
    assert "no evidence about OPT" in html


def test_killed_and_run_again_on_ray_ends_as_uninterrupted(tmp_path: Path, tiny: Path) -> None:
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    more = ("--set", "axes.num_train_epochs=[1,12]", "--tracking", "none")
    sweeper("run", str(tiny), "--storage", whole, "--backend", "inline", *more)
    command = [sys.executable, "-m", "sweeper.cli", "run", str(tiny), "--storage", cut, *more]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    deadline = time.monotonic() + 240
    while not list(Path(cut).glob("trials/*/checkpoints/*/sweeper-complete")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _await_release(Path(cut))
    sweeper("run", str(tiny), "--storage", cut, *more)
    rows = {
        name: document("status", "tiny", "--storage", store)["trials"] for name, store in (("a", whole), ("b", cut))
    }
    assert any(row["resumed_from_step"] for row in rows["b"]), "nothing went on from a checkpoint"
    for a, b in zip(rows["a"], rows["b"], strict=True):
        assert (a["fingerprint"], b["status"]) == (b["fingerprint"], "COMPLETE")
        for key in ("val_loss", "train_loss", "pass_rate", "steps"):
            assert a["metrics"][key] == b["metrics"][key], key


def _await_release(store: Path) -> None:
    """Ray's workers notice their dead driver within seconds; until then they may hold a trial."""
    from filelock import FileLock

    for lock in store.glob("trials/*/.lock"):
        with FileLock(lock, timeout=90):
            pass


def test_a_failed_trial_is_a_row_and_code_1(tmp_path: Path, tiny: Path) -> None:
    store = str(tmp_path / "store")
    tiny.write_text(
        TINY.replace("warmup_steps: 2}", "warmup_steps: 30}")
    )  # 20 steps an epoch: only 1 epoch is too short
    done = sweeper("run", str(tiny), "--storage", store, "--backend", "inline", "--tracking", "none", code=1)
    assert "2 failed" in done.stderr
    rows = document("status", "tiny", "--storage", store)["trials"]
    assert [row["status"] for row in rows] == ["FAILED", "COMPLETE"] * 2
    assert "Traceback" in rows[0]["failure"]["traceback"]
    claim = document("report", "tiny", "--storage", store)["claims"][0]
    assert claim["verdict"] == "inconclusive"


@pytest.mark.parametrize("backend", ["inline", "ray"])
def test_ctrl_c_leaves_a_study_to_go_on_with(tmp_path: Path, tiny: Path, backend: str) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-m", "sweeper.cli", "run", str(tiny), "--storage", str(store), "--backend", backend]
    command += ["--set", "axes.num_train_epochs=[1,40]", "--tracking", "none"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A test run that was itself started in the background would hand down "ignore".
    process = subprocess.Popen(
        command, cwd=ROOT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes
    )
    deadline = time.monotonic() + 200
    while not list(store.glob("trials/*/checkpoints/*/sweeper-complete")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "go on" in errors
    assert list(store.glob("trials/*/checkpoints/*/sweeper-complete"))


@pytest.mark.parametrize("material", ["export", "real"])
def test_toolbench_answers_are_trained_on(tmp_path: Path, material: str, request: pytest.FixtureRequest) -> None:
    if material == "export":
        export(build_world(WorldConfig(train_queries=24, validation_queries=3, test_queries_per_subset=1)), tmp_path)
        answers = tmp_path / "answer"
    else:
        answers = request.getfixturevalue("real_toolbench") / "answer"
    store = str(tmp_path / "store")
    sets = ("--set", f"data.path={answers}", "--set", "axes.model=[opt-tiny-32-long]")
    sweeper("run", "toolbench-sample", *sets, "--storage", store, "--backend", "inline", "--tracking", "wandb")
    (row,) = document("status", "toolbench-sample", "--storage", store)["trials"]
    assert row["status"] == "COMPLETE"
    assert row["metrics"]["val_loss"] > 0
    assert row["metrics"]["pass_rate"] is None
    assert list(Path(store, "studies/toolbench-sample/wandb").rglob("*.wandb")), "an offline W&B run was written"
