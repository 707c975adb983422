"""Estimated cost of a plan: finished stages are free, measured times replace assumptions."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweeper import data
from sweeper.config import Sweep, load_data_spec, load_hardware_specs, load_model_spec, load_sweep
from sweeper.errors import UsageError
from sweeper.evaluation import compute_suite_fingerprint
from sweeper.planning.estimate import estimate_plan, restore_first_estimates, retarget_hardware
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store


def sweep(root: Path, *overrides: str) -> Sweep:
    return load_sweep(root / "sweeps/quickstart.yaml", ["claims=[]", *overrides])


def plan_with_costs(sweep: Sweep, store: Path) -> Plan:
    return estimate_plan(plan_sweep(sweep, Store(store)), Store(store), load_hardware_specs())[0]


def write_records(store: Path, plan: Plan, *, seconds_per_flop: float = 1e-10, evaluated: bool = True) -> None:
    """Records of all its trials, as training leaves them."""
    for trial in plan.trials:
        assert trial.estimate is not None
        folder, work = store / "trials" / trial.fingerprint, trial.estimate.workload
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {"steps": work.steps, "train_flops": work.train_flops}
        record = {
            "fingerprint": trial.fingerprint,
            "status": "COMPLETE",
            "model": trial.spec.model.name,
            "parameters": trial.parameters,
            "metrics": metrics | {"train_seconds": work.train_flops * seconds_per_flop},
            "environment": {"device": "cpu"},
        }
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "spec.json").write_text(trial.spec.model_dump_json())
        if evaluated and trial.evaluation is not None:
            suite = compute_suite_fingerprint(trial.evaluation, trial.spec.data)
            (folder / "evaluation" / suite).mkdir(parents=True)
            (folder / "evaluation" / suite / "summary.json").write_text(json.dumps({"eval_seconds": 4.0}))


def to_numbers(plan: Plan) -> dict[str, Any]:
    assert plan.estimate is not None
    return plan.estimate.to_document()


def test_estimate_plan_covers_all_figures_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    plan = plan_with_costs(sweep(root), tmp_path)
    figures = to_numbers(plan)
    assert figures["steps"] == 4 * 3 * (175 + 525)
    assert figures["tokens"] == pytest.approx(4 * 3 * 4 * 1400 * 104.2)
    assert figures["cost"]["gpu_hours"] == 0 < figures["cost"]["low"]["cpu_hours"] < figures["cost"]["cpu_hours"]
    assert figures["cost"]["cpu_hours"] < figures["cost"]["high"]["cpu_hours"]
    assert math.isnan(figures["cost"]["usd"]), "cores have no price here"
    assert figures["wall_hours_range"][0] < figures["wall_hours"] < figures["wall_hours_range"][1]
    assert figures["disk_bytes_kept"] == pytest.approx(8 * 4 * sum(t.parameters or 0 for t in plan.trials[::8]))
    assert figures["energy_kwh"] > 0 == figures["reused"]
    assert any("toolworld are not prepared" in line and "assumed" in line for line in figures["rests_on"])
    assert all("assumed, not measured" in line for line in figures["rests_on"] if "on cpu" in line)
    assert plan.to_document()["wall_hours"] == figures["wall_hours"]
    assert plan.to_document()["trials"][0]["predicted_seconds"] > 0
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_estimate_plan_counts_placeholders(root: Path, tmp_path: Path) -> None:
    plan = plan_sweep(sweep(root, "axes.seed=[0]"), Store(tmp_path))
    others = plan_sweep(sweep(root, "axes.seed=[1]"), Store(tmp_path)).trials
    whole, wall = estimate_plan(dataclasses.replace(plan, placeholders=others), Store(tmp_path), load_hardware_specs())
    both = to_numbers(plan_with_costs(sweep(root, "axes.seed=[0,1]"), tmp_path))
    assert whole.trials == plan.trials
    assert to_numbers(whole)["cost"]["cpu_hours"] == pytest.approx(both["cost"]["cpu_hours"])
    assert wall.seconds.expected / 3600 == to_numbers(whole)["wall_hours"] > 0


def test_estimate_plan_costs_only_the_remaining_stages(root: Path, tmp_path: Path) -> None:
    small = sweep(root, "axes.seed=[0]")
    write_records(tmp_path, plan_with_costs(small, tmp_path))
    plan = plan_with_costs(small, tmp_path)
    figures = to_numbers(plan)
    assert figures["reused"] == 6
    assert figures["cost"]["cpu_hours"] == figures["wall_hours"] == figures["flops"] == figures["disk_bytes_kept"] == 0
    assert {row["reused"] for row in plan.to_document()["trials"]} == {"whole"}
    more = to_numbers(plan_with_costs(sweep(root, "axes.seed=[0,1]"), tmp_path))
    assert (more["reused"], more["steps"]) == (6, 2100)
    for summary in tmp_path.glob("trials/*/evaluation"):
        shutil.rmtree(summary)
    left = plan_with_costs(small, tmp_path)
    assert (to_numbers(left)["reused"], to_numbers(left)["reused_training"]) == (0, 6)
    assert to_numbers(left)["steps"] == 0 < to_numbers(left)["cost"]["cpu_hours"]
    assert all(trial.estimate and trial.estimate.cost.training.expected == 0 for trial in left.trials)


def test_estimate_plan_uses_measured_times(root: Path, tmp_path: Path) -> None:
    before = plan_with_costs(sweep(root, "axes.seed=[5]"), tmp_path)
    write_records(tmp_path, plan_with_costs(sweep(root, "axes.seed=[0,1,2]"), tmp_path))
    after = plan_with_costs(sweep(root, "axes.seed=[5]"), tmp_path)
    for old, new in zip(before.trials, after.trials, strict=True):
        assert old.estimate is not None
        assert new.estimate is not None
        assert new.estimate.basis == "measured on 3 trials"
        cost = new.estimate.cost
        assert cost.training.expected == pytest.approx(new.estimate.workload.train_flops * 1e-10, rel=1e-6)
        assert cost.evaluation.expected == pytest.approx(4.0, rel=1e-6)
        assert cost.training.high / cost.training.low < old.estimate.cost.training.high / old.estimate.cost.training.low
    other = plan_with_costs(sweep(root, "axes.seed=[5]", "axes.model=[opt-tiny-64-long]"), tmp_path)
    assert other.trials[0].estimate is not None
    assert other.trials[0].estimate.basis == "measured on 6 trials of opt-tiny-96"


def test_estimate_plan_reports_an_exceeded_budget(root: Path, tmp_path: Path) -> None:
    budget = "budget={cpu_hours: 0.01, gpu_hours: 1}"
    with_claims = load_sweep(root / "sweeps/quickstart.yaml", [budget])
    assert plan_with_costs(with_claims, tmp_path).problems == (), "its claims may be decided before"
    small = plan_with_costs(sweep(root, budget), tmp_path)
    assert len(small.problems) == 1
    assert small.problems[0].startswith("budget.cpu_hours: the plan is expected to need 0.1")
    assert plan_with_costs(sweep(root, "budget={cpu_hours: 10, wall_hours: 10}"), tmp_path).problems == ()


def test_retarget_hardware_replaces_the_gpu_of_all_runtimes(root: Path, tmp_path: Path) -> None:
    known, canonical = (
        load_hardware_specs(),
        load_sweep(root / "sweeps/canonical.yaml", ["evaluation=null", "claims=[]"]),
    )
    costs = {}
    for name in ("a10g", "h100"):
        plan = estimate_plan(plan_sweep(retarget_hardware(canonical, known[name])), Store(tmp_path), known)[0]
        costs[name] = to_numbers(plan)["cost"]
        assert {trial.estimate.hardware for trial in plan.trials if trial.estimate} == {name}
        assert costs[name]["usd"] == pytest.approx(costs[name]["gpu_hours"] * (known[name].usd_per_hour or 0))
    assert costs["h100"]["gpu_hours"] < costs["a10g"]["gpu_hours"] / 5
    with pytest.raises(UsageError, match="name a GPU"):
        retarget_hardware(canonical, known["cpu"])


def test_restore_first_estimates_keeps_the_first_prediction(root: Path, tmp_path: Path) -> None:
    first = plan_with_costs(sweep(root, "axes.seed=[0]"), tmp_path).to_document()
    write_records(tmp_path, plan_with_costs(sweep(root, "axes.seed=[0]"), tmp_path))
    again = plan_with_costs(sweep(root, "axes.seed=[0]"), tmp_path).to_document()
    kept = restore_first_estimates(again, first)
    assert [row["predicted_seconds"] for row in kept["trials"]] == [row["predicted_seconds"] for row in first["trials"]]
    assert (kept["wall_hours"], kept["reused"]) == (first["wall_hours"], 0)
    larger = plan_with_costs(sweep(root, "axes.seed=[0,1]"), tmp_path).to_document()
    merged = restore_first_estimates(larger, first)
    assert merged["wall_hours"] == larger["wall_hours"], "another plan, another wall time"
    assert sum(row["reused"] == "whole" for row in merged["trials"]) == 0
    assert restore_first_estimates(again, None) == again


def test_assumed_size_does_not_change_fingerprints(root: Path, tmp_path: Path) -> None:
    plain, assumed = (
        sweep(root, "axes.seed=[0]", f"data.assumed={value}") for value in ("null", "{examples: 5, mean_tokens: 7}")
    )
    first, second = plan_sweep(plain), plan_sweep(assumed)
    assert [t.fingerprint for t in first.trials] == [t.fingerprint for t in second.trials]
    spec, model = load_data_spec("toolworld"), load_model_spec("opt-tiny-32")
    assert data.fingerprint_data(spec, model) == data.fingerprint_data(spec.model_copy(update={"assumed": None}), model)
    evaluation = plain.evaluation
    assert evaluation is not None
    assert compute_suite_fingerprint(evaluation, plain.data) == compute_suite_fingerprint(evaluation, assumed.data)
    assert to_numbers(plan_with_costs(plain, tmp_path))["unknown"]


def test_estimate_plan_counts_prepared_data(root: Path, tmp_path: Path) -> None:
    small = sweep(root, "axes.seed=[0]", "data.toolworld.train_queries=40", "data.assumed={examples: 9999}")
    data.prepare_data(small.data, small.models["opt-tiny-32"], tmp_path)
    figures = to_numbers(plan_with_costs(small, tmp_path))
    assert figures["steps"] == 3 * (5 + 15)
    assert not any("are assumed" in line for line in figures["rests_on"])
