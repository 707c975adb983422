"""Planning a sweep: the trials, their fingerprints and compute, and the problems that prevent a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_studies import load_small_sweep

from sweeper import data
from sweeper.config import load_sweep
from sweeper.errors import ConfigError
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store

ROOT = Path(__file__).resolve().parents[2]


def test_plan_sweep_returns_the_product_of_the_axes_each_time() -> None:
    sweep = load_sweep(ROOT / "sweeps/quickstart.yaml")
    plan = plan_sweep(sweep)
    assert len({trial.fingerprint for trial in plan.trials}) == len(plan.trials) == 24
    assert plan == plan_sweep(sweep)


def test_plan_sweep_gives_each_length_policy_its_own_fingerprint() -> None:
    sweep = load_small_sweep("axes.seed=[0]", "axes.fit=[strict, truncate]", "axes.max_length=[200, 256]")
    plan = plan_sweep(sweep)
    assert plan.problems == ()
    rows = [trial.to_row() for trial in plan.trials]
    assert [(row["fit"], row["max_length"]) for row in rows] == [
        (fit, length) for fit in ("strict", "truncate") for length in (200, 256)
    ]
    assert (
        len({trial.fingerprint for trial in plan.trials}) == len({trial.data_fingerprint for trial in plan.trials}) == 4
    )
    with pytest.raises(ConfigError, match="fit"):
        load_small_sweep("axes.fit=[sometimes]")


def test_plan_sweep_reports_more_queries_than_the_world_has() -> None:
    plan = plan_sweep(load_small_sweep("data.toolworld={train_queries: 60000}"))
    (problem,) = plan.problems
    assert "30000 queries of G1_instruction" in problem
    assert "only" in problem


def test_plan_sweep_reports_more_tokens_than_positions() -> None:
    plan = plan_sweep(load_small_sweep("axes.max_length=[513]"))
    assert len(plan.problems) == 1
    assert "513" in plan.problems[0]
    assert "512" in plan.problems[0]
    stretched = plan_sweep(load_small_sweep("data.max_length=513", "data.extend_positions=interpolate"))
    whole = plan_sweep(load_small_sweep("data.max_length=512", "data.extend_positions=interpolate"))
    assert stretched.problems == whole.problems == ()
    assert stretched.trials[0].parameters == (whole.trials[0].parameters or 0) + 32
    plain = plan_sweep(load_small_sweep("data.max_length=512"))
    assert plain.trials[0].fingerprint == whole.trials[0].fingerprint, (
        "unneeded interpolation leaves the trial the same"
    )


def test_plan_sweep_computes_steps_and_flops_of_prepared_data(tmp_path: Path) -> None:

    store, sweep = Store(tmp_path), load_small_sweep("axes.seed=[0]", "axes.train_flops_budget=[null, 5e10]")
    unprepared = plan_sweep(sweep, store)
    assert [(row["planned_train_flops"], row["planned_steps"]) for row in unprepared.to_document()["trials"]] == [
        (None, None)
    ] * 2
    data.prepare_data(sweep.data, sweep.models["opt-tiny-32"], tmp_path)
    plan = plan_sweep(sweep, store)
    assert plan == unprepared, "the same trials"
    vocabulary = data.read_data_manifest(store, plan.trials[0].data_fingerprint).vocab_size
    missing = sweep.data.vocab_size - vocabulary
    assert missing > 0, "so few texts do not fill the vocabulary"
    assert plan.trials[0].parameters == (unprepared.trials[0].parameters or 0) - 32 * missing, "the trained vocabulary"
    epoch, budget = plan.to_document()["trials"]
    assert epoch["planned_steps"] == 5, "40 rows, batch 8"
    assert 0 < epoch["planned_train_flops"] < 5e10
    assert budget["planned_train_flops"] == pytest.approx(5e10, rel=0.05)
    assert budget["planned_steps"] >= 20
    too_small = plan_sweep(load_small_sweep("axes.seed=[0]", "recipe.train_flops_budget=1e6"), store)
    assert "train_flops_budget" in too_small.problems[0]
    with pytest.raises(ConfigError, match="max_steps"):
        load_small_sweep("recipe.max_steps=5", "recipe.train_flops_budget=1e9")


def test_plan_sweep_counts_shared_trials_without_data() -> None:
    plan = plan_sweep(load_sweep(ROOT / "sweeps/paper.yaml"))
    assert all(trial.fingerprint == "" for trial in plan.trials)
    shared = {row["sweep"]: (row["trials"], row["shared"]) for row in plan.to_document()["parts"]}
    assert shared["canonical"] == shared["generalisation"] == (6, 6)
    assert shared["scaling"] == (18, 18)
    assert shared["scaling-equal-compute"] == (18, 0)
    problems = "\n".join(plan.problems)
    assert "data.path" in problems
    assert "test queries" in problems
    assert plan.requested > len(plan.trials)


def test_plan_sweep_gives_zero_in_half_precision_its_own_fingerprint() -> None:
    def plan(engine: str, precision: str) -> tuple[str, str]:
        runtime = f"runtime.default={{engine: {engine}, gpus: 1, hardware: a10g}}"
        trial = plan_sweep(load_small_sweep("axes.seed=[0]", f"recipe.precision={precision}", runtime)).trials[0]
        return trial.spec.runtime.engine, trial.fingerprint

    assert plan("single", "fp32")[1] == plan("zero2", "fp32")[1]
    alone, shared = plan("single", "bf16")[1], plan("zero2", "bf16")[1]
    assert alone != shared
    assert plan("auto", "bf16") == ("single", alone)
    assert plan("zero3", "bf16")[1] == shared
