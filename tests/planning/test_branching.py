"""Branched epochs: refused where invalid, planned, run trunks first, and cleaned up."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console
from small_studies import run_inline

from sweeper import data
from sweeper.cli.tables_study import render_plan_table
from sweeper.config import Sweep, load_sweep
from sweeper.errors import TrialsFailedError
from sweeper.planning.branching import split_into_batches
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study, load_study_plan
from sweeper.storage import Store, read_json
from sweeper.training import TrialJob, read_record, train_trial

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "sweeps/epochs-branched.yaml"
SMALL = [
    "claims=[]",
    "evaluation=null",
    "axes.model=[opt-tiny-32]",
    "axes.num_train_epochs=[1, 3, 2]",
    "recipe.warmup_steps=2",
    "data.toolworld={train_queries: 40, validation_queries: 6, test_queries_per_subset: 1}",
]


def load_branched_sweep(*more: str) -> Sweep:
    return load_sweep(SHIPPED, [*SMALL, *more])


def test_branch_epochs_is_off_by_default_and_changes_fingerprints() -> None:
    branched, alone = (plan_sweep(load_branched_sweep(*more)) for more in ((), ("branch_epochs=false",)))
    assert load_sweep(ROOT / "sweeps/quickstart.yaml").branch_epochs is False
    assert not {t.fingerprint for t in branched.trials} & {t.fingerprint for t in alone.trials}
    assert all(t.spec.branch is None and not t.spec.branch_points for t in alone.trials)
    assert "branching" not in alone.to_document()


def test_branch_specs_makes_the_longest_arm_the_trunk() -> None:
    plan = plan_sweep(load_branched_sweep("axes.learning_rate=[0.01, 0.02]"))
    assert plan.problems == ()
    assert len({trial.fingerprint for trial in plan.trials}) == 12
    assert plan == plan_sweep(load_branched_sweep("axes.learning_rate=[0.01, 0.02]"))
    by_name = {trial.fingerprint: trial for trial in plan.trials}
    for trial in plan.trials:
        epochs = trial.spec.recipe.num_train_epochs
        if epochs == 3:
            assert trial.spec.branch is None
            assert trial.spec.branch_points == (1, 2)
        else:
            assert trial.spec.branch is not None
            trunk = by_name[trial.spec.branch.trunk]
            assert trunk.spec.recipe.num_train_epochs == 3
            assert (trunk.spec.seed, trunk.spec.recipe.learning_rate) == (
                trial.spec.seed,
                trial.spec.recipe.learning_rate,
            )
    first, then = split_into_batches(plan.trials)
    assert {trial.spec.recipe.num_train_epochs for trial in first} == {3}
    assert {trial.spec.recipe.num_train_epochs for trial in then} == {1, 2}
    assert split_into_batches(then) == [then], "their trunks are finished: nothing to wait for"
    assert split_into_batches([]) == []


def print_plan(plan: Plan) -> str:
    shown = io.StringIO()
    Console(file=shown, width=200).print(render_plan_table(plan.to_document(), list(plan.sweep.axes)))
    return shown.getvalue()


def test_branching_savings_are_known_for_prepared_data(tmp_path: Path) -> None:
    store, sweep = Store(tmp_path), load_branched_sweep("axes.seed=[0]")
    unknown = plan_sweep(sweep, store)
    assert math.isnan(unknown.to_document()["branching"]["saved_share"])
    assert "until the data are prepared" in print_plan(unknown)
    data.prepare_data(sweep.data, sweep.models["opt-tiny-32"], tmp_path)
    plan, alone = (plan_sweep(s, store) for s in (sweep, sweep.model_copy(update={"branch_epochs": False})))
    assert [trial.planned_steps for trial in alone.trials] == [5, 15, 10]
    assert [trial.planned_steps for trial in plan.trials] == [1, 15, 2], "40 rows, batch 8; a fifth decays"
    savings = plan.to_document()["branching"]
    assert (savings["saved_steps"], savings["steps"]) == (4 + 8, 18)
    assert savings["saved_share"] == pytest.approx(12 / 30)
    flops, whole = (sum(trial.planned_train_flops or 0 for trial in p.trials) for p in (plan, alone))
    assert savings["saved_flops"] == pytest.approx(whole - flops)
    assert "40% of the steps saved (12 of 30)" in print_plan(plan)
    too_long = plan_sweep(load_branched_sweep("axes.seed=[0]", "recipe.warmup_steps=5"), store)
    assert any("whose decay begins after 4" in problem for problem in too_long.problems)


@pytest.mark.slow
def test_branched_study_runs_trunks_first_and_deletes_checkpoints(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = plan_sweep(load_branched_sweep("axes.seed=[0]", "evaluation=toolworld"), store)
    shown = run_inline(plan, store)
    assert shown.index("epochs 3") < shown.index("epochs 1") < shown.index("epochs 2")
    tables = collect_study(plan_sweep(plan.sweep, store), store)
    assert [row.status for row in tables.trials] == ["COMPLETE"] * 3
    assert [row.metrics["steps"] for row in tables.trials] == [5, 15, 10], "of the whole schedule"
    assert [row.metrics.get("branched_from_step") for row in tables.trials] == [4, None, 8]
    assert [row.planned["planned_steps"] for row in tables.trials] == [1, 15, 2], "its own"
    assert [len(tables.histories[row.fingerprint]) for row in tables.trials] == [5 + 1, 15 + 3, 10 + 2]
    trunk = plan.trials[1].fingerprint
    assert not store.branch_points_folder(trunk).exists(), "they have served"
    assert load_study_plan("epochs-branched", store) == plan
    assert "0 to run" in run_inline(plan, store)


@pytest.mark.slow
def test_branch_without_its_trunk_fails_and_is_retried(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = plan_sweep(load_branched_sweep("axes.seed=[0]"), store)
    run_inline(plan, store)
    arm, trunk, other = plan.trials
    store.delete(store.trial_folder(arm.fingerprint))
    with pytest.raises(TrialsFailedError, match=arm.fingerprint):
        run_inline(plan, store)
    (row, *_) = collect_study(plan, store).trials
    assert row.failure is not None
    assert (row.status, row.failure.kind) == ("FAILED", "bad-input")
    assert f"delete trials/{trunk.fingerprint}" in row.failure.message
    kept = store.record_path(other.fingerprint).read_bytes()
    store.delete(store.trial_folder(trunk.fingerprint))
    run_inline(plan, store)
    assert read_record(store.record_path(arm.fingerprint)) is not None
    assert store.record_path(other.fingerprint).read_bytes() == kept


@pytest.mark.slow
def test_branch_checkpoints_stay_while_a_branch_is_unfinished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = plan_sweep(load_branched_sweep("axes.seed=[0]"), store)
    arm, trunk, _ = plan.trials
    prepared = data.prepare_data(trunk.spec.data, trunk.spec.model, store)
    for trial in (trunk, arm):
        train_trial(
            TrialJob(trial.spec, trial.fingerprint, prepared.fingerprint),
            lambda: prepared,
            store,
            lambda progress: None,
        )
    assert sorted(store.list_subfolders(store.branch_points_folder(trunk.fingerprint))) == [
        "checkpoint-4",
        "checkpoint-8",
    ]
    assert read_json(store.trial_folder(arm.fingerprint) / "spec.json")["branch"]["trunk"] == trunk.fingerprint
    run_inline(plan, store)
    assert not store.branch_points_folder(trunk.fingerprint).exists()
