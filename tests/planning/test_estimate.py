"""A plan with its costs: what the store has is free, what was measured replaces what is taken, limits are problems."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweeper import data
from sweeper.config import DataSpec, Sweep, load_data_spec, load_hardware_specs, load_model_spec, load_sweep
from sweeper.data import DataSize
from sweeper.errors import UsageError
from sweeper.evaluation import compute_suite_fingerprint
from sweeper.planning.estimate import estimate_plan, restore_first_estimates, retarget_hardware
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.planning.workload import assume_size
from sweeper.storage import Store


def sweep(root: Path, *overrides: str) -> Sweep:
    return load_sweep(root / "sweeps/quickstart.yaml", ["claims=[]", *overrides])


def priced(asked: Sweep, store: Path) -> Plan:
    return estimate_plan(plan_sweep(asked, Store(store)), Store(store), load_hardware_specs())[0]


def finish(store: Path, plan: Plan, *, seconds_per_flop: float = 1e-10, evaluated: bool = True) -> None:
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


def numbers(plan: Plan) -> dict[str, Any]:
    assert plan.estimate is not None
    return plan.estimate.to_document()


def test_a_plan_says_everything_before_anything_starts(root: Path, tmp_path: Path) -> None:
    plan = priced(sweep(root), tmp_path)
    found = numbers(plan)
    assert found["steps"] == 2 * 3 * (300 + 900)
    assert found["tokens"] == pytest.approx(2 * 3 * 4 * 2400 * 104.2)
    assert found["cost"]["gpu_hours"] == 0 < found["cost"]["low"]["cpu_hours"] < found["cost"]["cpu_hours"]
    assert found["cost"]["cpu_hours"] < found["cost"]["high"]["cpu_hours"]
    assert math.isnan(found["cost"]["usd"]), "cores have no price here"
    assert found["wall_hours_range"][0] < found["wall_hours"] < found["wall_hours_range"][1]
    assert found["disk_bytes_kept"] == pytest.approx(4 * 4 * sum(t.parameters or 0 for t in plan.trials[::4]))
    assert found["energy_kwh"] > 0 == found["reused"]
    assert any("toolworld are not prepared" in line and "assumed" in line for line in found["rests_on"])
    assert all("assumed, not measured" in line for line in found["rests_on"] if "on cpu" in line)
    assert plan.to_document()["wall_hours"] == found["wall_hours"]
    assert plan.to_document()["trials"][0]["predicted_seconds"] > 0
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_trials_that_are_not_known_yet_count_by_their_stand_ins(root: Path, tmp_path: Path) -> None:
    plan = plan_sweep(sweep(root, "axes.seed=[0]"), Store(tmp_path))
    others = plan_sweep(sweep(root, "axes.seed=[1]"), Store(tmp_path)).trials
    whole, wall = estimate_plan(dataclasses.replace(plan, placeholders=others), Store(tmp_path), load_hardware_specs())
    both = numbers(priced(sweep(root), tmp_path))
    assert whole.trials == plan.trials
    assert numbers(whole)["cost"]["cpu_hours"] == pytest.approx(both["cost"]["cpu_hours"])
    assert wall.seconds.expected / 3600 == numbers(whole)["wall_hours"] > 0


def test_finished_trials_cost_nothing_and_evaluation_can_be_all_that_is_left(root: Path, tmp_path: Path) -> None:
    asked = sweep(root, "axes.seed=[0]")
    finish(tmp_path, priced(asked, tmp_path))
    plan = priced(asked, tmp_path)
    found = numbers(plan)
    assert found["reused"] == 6
    assert found["cost"]["cpu_hours"] == found["wall_hours"] == found["flops"] == found["disk_bytes_kept"] == 0
    assert {row["reused"] for row in plan.to_document()["trials"]} == {"whole"}
    more = numbers(priced(sweep(root, "axes.seed=[0,1]"), tmp_path))
    assert (more["reused"], more["steps"]) == (6, 3600)
    for summary in tmp_path.glob("trials/*/evaluation"):
        shutil.rmtree(summary)
    left = priced(asked, tmp_path)
    assert (numbers(left)["reused"], numbers(left)["reused_training"]) == (0, 6)
    assert numbers(left)["steps"] == 0 < numbers(left)["cost"]["cpu_hours"]
    assert all(trial.estimate and trial.estimate.cost.training.expected == 0 for trial in left.trials)


def test_what_was_measured_replaces_what_is_taken_and_the_range_shrinks(root: Path, tmp_path: Path) -> None:
    before = priced(sweep(root, "axes.seed=[5]"), tmp_path)
    finish(tmp_path, priced(sweep(root, "axes.seed=[0,1,2]"), tmp_path))
    after = priced(sweep(root, "axes.seed=[5]"), tmp_path)
    for old, new in zip(before.trials, after.trials, strict=True):
        assert old.estimate is not None
        assert new.estimate is not None
        assert new.estimate.basis == "measured on 3 trials"
        cost = new.estimate.cost
        assert cost.training.expected == pytest.approx(new.estimate.workload.train_flops * 1e-10, rel=1e-6)
        assert cost.evaluation.expected == pytest.approx(4.0, rel=1e-6)
        assert cost.training.high / cost.training.low < old.estimate.cost.training.high / old.estimate.cost.training.low
    other = priced(sweep(root, "axes.seed=[5]", "axes.model=[opt-tiny-64-long]"), tmp_path)
    assert other.trials[0].estimate is not None
    assert other.trials[0].estimate.basis == "measured on 6 trials of opt-tiny-96"


def test_a_plan_over_its_budget_has_a_problem(root: Path, tmp_path: Path) -> None:
    small = priced(sweep(root, "budget={cpu_hours: 0.01, gpu_hours: 1}"), tmp_path)
    assert len(small.problems) == 1
    assert small.problems[0].startswith("budget.cpu_hours: the plan is expected to need 0.1")
    assert priced(sweep(root, "budget={cpu_hours: 10, wall_hours: 10}"), tmp_path).problems == ()


def test_another_gpu_is_planned_for_whatever_the_sweep_names(root: Path, tmp_path: Path) -> None:
    known, given = load_hardware_specs(), load_sweep(root / "sweeps/canonical.yaml", ["evaluation=null", "claims=[]"])
    costs = {}
    for name in ("a10g", "h100"):
        plan = estimate_plan(plan_sweep(retarget_hardware(given, known[name])), Store(tmp_path), known)[0]
        costs[name] = numbers(plan)["cost"]
        assert {trial.estimate.hardware for trial in plan.trials if trial.estimate} == {name}
        assert costs[name]["usd"] == pytest.approx(costs[name]["gpu_hours"] * (known[name].usd_per_hour or 0))
    assert costs["h100"]["gpu_hours"] < costs["a10g"]["gpu_hours"] / 5
    with pytest.raises(UsageError, match="name a GPU"):
        retarget_hardware(given, known["cpu"])


def test_a_report_keeps_what_was_said_first(root: Path, tmp_path: Path) -> None:
    first = priced(sweep(root, "axes.seed=[0]"), tmp_path).to_document()
    finish(tmp_path, priced(sweep(root, "axes.seed=[0]"), tmp_path))
    again = priced(sweep(root, "axes.seed=[0]"), tmp_path).to_document()
    kept = restore_first_estimates(again, first)
    assert [row["predicted_seconds"] for row in kept["trials"]] == [row["predicted_seconds"] for row in first["trials"]]
    assert (kept["wall_hours"], kept["reused"]) == (first["wall_hours"], 0)
    larger = priced(sweep(root, "axes.seed=[0,1]"), tmp_path).to_document()
    merged = restore_first_estimates(larger, first)
    assert merged["wall_hours"] == larger["wall_hours"], "another plan, another wall time"
    assert sum(row["reused"] == "whole" for row in merged["trials"]) == 0
    assert restore_first_estimates(again, None) == again


def test_a_taken_size_is_no_part_of_what_a_trial_is(root: Path, tmp_path: Path) -> None:
    plain, taken = (
        sweep(root, "axes.seed=[0]", f"data.assumed={value}") for value in ("null", "{examples: 5, mean_tokens: 7}")
    )
    first, second = plan_sweep(plain), plan_sweep(taken)
    assert [t.fingerprint for t in first.trials] == [t.fingerprint for t in second.trials]
    spec, model = load_data_spec("toolworld"), load_model_spec("opt-tiny-32")
    assert data.fingerprint_data(spec, model) == data.fingerprint_data(spec.model_copy(update={"assumed": None}), model)
    evaluation = plain.evaluation
    assert evaluation is not None
    assert compute_suite_fingerprint(evaluation, plain.data) == compute_suite_fingerprint(evaluation, taken.data)
    assert numbers(priced(plain, tmp_path))["unknown"]


def test_prepared_data_are_counted_and_not_assumed(root: Path, tmp_path: Path) -> None:
    asked = sweep(root, "axes.seed=[0]", "data.toolworld.train_queries=40", "data.assumed={examples: 9999}")
    data.prepare_data(asked.data, asked.models["opt-tiny-32"], tmp_path)
    found = numbers(priced(asked, tmp_path))
    assert found["steps"] == 3 * (5 + 15)
    assert not any("are assumed" in line for line in found["rests_on"])


def test_toolbench_is_taken_to_be_the_papers_and_no_longer_than_a_row_can_be() -> None:
    spec = load_data_spec("toolbench")
    assert assume_size(spec) == DataSize(187542, 187542 * 2048, 512)
    assert assume_size(DataSpec.model_validate(spec.model_dump() | {"assumed": None})) is None
    long = spec.model_copy(update={"assumed": spec.assumed.model_copy(update={"mean_tokens": 9e9})})  # type: ignore[union-attr]
    assert assume_size(long) == assume_size(spec)
