"""Plans: trials by key, savings of branches, and the document of `plan --json`."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from small_studies import load_small_sweep

from sweeper.planning.plan import BranchingSavings, Plan
from sweeper.planning.planner import plan_sweep


@pytest.fixture
def plan() -> Plan:
    return plan_sweep(load_small_sweep("axes.seed=[0,1]", "axes.learning_rate=[0.01,0.02]"))


def test_varying_axes_excludes_model_seed_and_single_values(plan: Plan) -> None:
    assert plan.varying_axes == ["learning_rate"]


def test_key_identifies_trials_without_a_fingerprint(plan: Plan) -> None:
    unknown = [replace(trial, fingerprint="") for trial in plan.trials]
    assert len({trial.key for trial in unknown}) == len(unknown)
    assert unknown[0].key == replace(plan.trials[0], fingerprint="").key


def test_pending_search_trials_counts_placeholders_by_role(plan: Plan) -> None:
    first, second, third, _ = plan.trials
    study = replace(plan, placeholders=(first, replace(second, role="confirm"), replace(third, role="explore")))
    assert study.pending_search_trials == {"explore": 2, "confirm": 1}
    assert study.to_document()["to_come"] == {"explore": 2, "confirm": 1}
    assert "to_come" not in plan.to_document()


def test_to_part_row_counts_shared_trials(plan: Plan) -> None:
    part = replace(plan, trials=plan.trials[:2])
    combined = replace(plan, parts=(part, plan))
    assert part.to_part_row(combined)["shared"] == 2
    assert plan.to_part_row(combined)["shared"] == 2
    assert combined.requested == 6


def test_branching_savings_is_a_share_of_all_steps() -> None:
    savings = BranchingSavings(trunks=1, branches=2, saved_steps=12, saved_flops=1e9, steps=18)
    assert savings.saved_share == pytest.approx(0.4)
    assert math.isnan(replace(savings, saved_steps=math.nan).saved_share)
