"""Before the run: detectable effects, refusals; and verdicts on drawn studies are right as often as they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.claims.simulated_power import SimulatedPower
from sweeper.config import find_sweep, load_hardware_specs, load_sweep
from sweeper.errors import UsageError
from sweeper.planning.claim_power import ObservedRuns, build_power_table, price_looks, simulate_plan
from sweeper.planning.estimate import estimate_plan
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store


def plan(*overrides: str) -> Plan:
    base = [
        "axes.num_train_epochs=[1]",
        "axes.model=[opt-tiny-32, opt-tiny-64, opt-tiny-96]",
        "axes.seed=[0,1,2,3,4,5]",
    ]
    claim = "claims=[{extends: sweet-spot, candidate: opt-tiny-64, margin: 0.1}]"
    return plan_sweep(load_sweep(find_sweep("quickstart"), [*base, claim, *overrides]))


def documents(*overrides: str) -> list[dict[str, Any]]:
    return [row.to_document() for row in build_power_table(plan(*overrides))]


def test_power_table_has_the_detectable_effect() -> None:
    (claim,) = documents()
    assert (claim["seeds"], claim["queries"], claim["margin"]) == (6, 180, 0.1)
    assert claim["arms"] == ["opt-tiny-32", "opt-tiny-64", "opt-tiny-96"]
    assert 0.02 < claim["detectable_effect"] < 0.1
    assert claim["underpowered"] is False


def test_underpowered_design_names_the_seeds_it_needs() -> None:
    (few,) = documents("axes.seed=[0,1]")
    assert few["underpowered"] is True
    assert few["detectable_effect"] > 0.1
    assert 2 < few["seeds_needed"] <= 6
    assert "needs" in few["reason"] and "seeds" in few["reason"]


def test_single_arm_and_divergence_claims_have_a_figure() -> None:
    reaches = "claims=[{extends: pass-rate, where: {model: opt-tiny-64}, margin: 0.2}]"
    (claim,) = documents(reaches)
    assert claim["underpowered"] is False and 0.02 < claim["detectable_effect"] < 0.2
    stable = "axes.max_grad_norm=[null, 0.3]"
    (few,) = documents(stable, "claims=[{extends: stability, margin: 0.3}]", "axes.seed=[0]")
    assert few["detectable_effect"] is None and few["underpowered"] is True, "three pairs of runs show nothing"
    assert few["seeds_needed"] is not None and few["seeds_needed"] > 2
    (many,) = documents(stable, "claims=[{extends: stability, margin: 0.5}]")
    assert many["underpowered"] is False


def test_finished_runs_replace_what_is_assumed_in_the_power_alone() -> None:
    """The detectable effect, by which `run` refuses a design, keeps what the claim registered."""
    rows = build_power_table(plan(), ObservedRuns(seed_sd=0.2, discordance=0.3))
    (claim,) = [row.to_document() for row in rows]
    (before,) = documents()
    assert claim["observed"] == {"discordance": 0.3, "seed_sd": 0.2, "collapse_rate": None}
    assert before["observed"] == dict.fromkeys(("discordance", "seed_sd", "collapse_rate"))
    (collapsing,) = [row.to_document() for row in build_power_table(plan(), ObservedRuns(collapse_rate=0.5))]
    assert collapsing["power"] < before["power"] and collapsing["observed"]["collapse_rate"] == 0.5
    assert claim["power"] < before["power"]
    for key in ("assumed", "detectable_effect", "underpowered"):
        assert claim[key] == before[key]


def test_looks_are_priced_by_what_open_claims_need(tmp_path: Path) -> None:
    """The claims stop early, and one arm is of none of them: between the first look's cost and that of all seeds."""
    looks = "looks: [3, 6], spend: [0.025, 0.025], margin: 0.3, where: {model: opt-tiny-64}"
    sure = plan(f"claims=[{{extends: pass-rate, {looks}}}]", "until=decided")
    priced, _ = estimate_plan(sure, Store.from_location(str(tmp_path)), load_hardware_specs())
    total = priced.estimate.cost.cpu_hours.expected if priced.estimate else 0.0
    rows = build_power_table(priced)
    price = price_looks(priced, rows)
    middle = [trial for trial in priced.trials if trial.spec.model.name == "opt-tiny-64"]
    own = [trial.estimate.cost.cpu_hours.expected for trial in middle if trial.estimate]
    first = total / 2
    assert first <= price.expected["cpu_hours"] < price.worst["cpu_hours"] < total
    assert price.worst["cpu_hours"] == pytest.approx(first + sum(own) / 2, rel=0.01)
    assert rows[0].simulated is not None and rows[0].simulated.expected_seeds < 4
    assert price.fixed is not None and price.expected["gpu_hours"] == 0.0


def test_claim_without_a_figure_has_a_reason() -> None:
    (claim,) = documents("claims=[{extends: judge-independent}]")
    assert claim["detectable_effect"] is None and claim["underpowered"] is None
    assert "judges" in claim["reason"]


def make_truth(rate: float, other: float) -> dict[str, Any]:
    return {"arms": [{"rate": rate}, {"rate": other, "where": {"model": "opt-tiny-64"}}], "seed_sd": 0.05}


@pytest.mark.slow
def test_simulated_verdicts_follow_the_true_rates() -> None:
    better = simulate_plan(plan(), make_truth(0.5, 0.75), n_studies=12, seed=0)
    (claim,) = better["claims"]
    assert claim["holds"] is True
    assert claim["power"] == claim["verdicts"]["supported"] > 0.8
    assert [row["value"] for row in claim["true_differences"]] == pytest.approx([0.25, -0.25])
    worse = simulate_plan(plan(), make_truth(0.75, 0.5), n_studies=12, seed=0)["claims"][0]
    assert (worse["holds"], worse["false_supported"], worse["verdicts"]["refuted"]) == (False, 0.0, 1.0)


@pytest.mark.slow
def test_simulated_false_support_stays_below_alpha_and_intervals_cover() -> None:
    """Equal arms: a claim that one is better is false, and supported at most alpha / 2 of the time."""
    (claim,) = simulate_plan(plan(), make_truth(0.6, 0.6), n_studies=200, seed=1)["claims"]
    assert claim["holds"] is False
    assert claim["false_supported"] <= 0.025 + 3 * (0.025 * 0.975 / 200) ** 0.5
    assert claim["coverage"] >= 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5


def test_sweep_without_evaluation_cannot_be_simulated() -> None:
    with pytest.raises(UsageError, match="no evaluation"):
        simulate_plan(plan("evaluation=null", "claims=[]"), make_truth(0.5, 0.5), n_studies=1, seed=0)


def test_a_design_that_cannot_decide_has_no_price_without_looks(tmp_path: Path) -> None:
    claim = "claims=[{extends: pass-rate, looks: [3, 6], margin: 0.3, where: {model: opt-tiny-64}}]"
    priced, _ = estimate_plan(plan(claim, "until=decided"), Store.from_location(str(tmp_path)), load_hardware_specs())
    rows = build_power_table(priced)
    assert price_looks(priced, rows).fixed is not None
    hopeless = replace(rows[0], simulated=SimulatedPower(0.0, ((6, 1.0),), 2))
    assert price_looks(priced, [hopeless]).fixed is None
    assert price_looks(priced, [replace(rows[0], simulated=None)]).fixed is None
