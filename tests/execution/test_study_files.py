"""The files that describe a run in the folder of its study."""

from __future__ import annotations

from pathlib import Path

from small_studies import load_small_sweep

from sweeper import __version__
from sweeper.config import Sweep, load_hardware_specs, load_sweep, read_yaml_as_dict
from sweeper.execution.study_files import collect_run_manifest, start_run, write_plan
from sweeper.planning.estimate import estimate_plan
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store, read_json

PINNED = Path(__file__).resolve().parents[1] / "pinned"


def test_start_run_writes_a_sweep_that_plans_the_same(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), plan_sweep(load_small_sweep())
    start_run(plan, store, "inline")
    folder = store.study_folder("quickstart")
    assert plan_sweep(Sweep.model_validate(read_yaml_as_dict(folder / "sweep.yaml"))) == plan
    assert [row["fingerprint"] for row in read_json(folder / "plan.json")["trials"]] == [
        trial.fingerprint for trial in plan.trials
    ]
    start_run(plan, store, "ray")
    assert [run["backend"] for run in read_json(folder / "manifest.json")["runs"]] == ["inline", "ray"]


def test_start_run_registers_the_claims_once(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), plan_sweep(load_sweep(PINNED / "tiny.yaml", ["claims=[single-epoch]"]))
    new = start_run(plan, store, "inline")
    assert [(claim.id, claim.finished, claim.planned) for claim in new] == [("single-epoch", 0, 4)]
    assert start_run(plan, store, "inline") == []


def test_write_plan_keeps_the_estimates_of_the_first_run(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), plan_sweep(load_small_sweep())
    estimated, _ = estimate_plan(plan, store, load_hardware_specs())
    write_plan(estimated, store)
    path = store.study_folder("quickstart") / "plan.json"
    first = read_json(path)["trials"]
    write_plan(plan, store)
    assert [row["predicted_seconds"] for row in read_json(path)["trials"]] == [
        row["predicted_seconds"] for row in first
    ]


def test_collect_run_manifest_has_versions_and_hardware() -> None:
    manifest = collect_run_manifest("ray").to_document()
    assert manifest["sweeper"] == __version__
    assert manifest["backend"] == "ray"
    assert {"ray", "torch", "trl"} <= manifest["versions"].keys()
    assert manifest["started"].endswith("+00:00")
