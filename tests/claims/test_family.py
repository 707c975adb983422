"""Holm's correction over the claims of a report, on both sides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from claim_cases import JUDGES, REACHES, SPOT, make_claim, size_runs
from claim_tables import seeds, tables
from statsmodels.stats.multitest import multipletests

from sweeper.claims.decide import decide_claim
from sweeper.claims.family import adjust_verdicts, holm_adjusted, judge_family
from sweeper.claims.study_verdicts import decide_claims
from sweeper.claims.tables import StudyEvidence
from sweeper.statistics.pass_matrix import build_pass_matrix
from sweeper.statistics.simulated_outcomes import GroundTruth, SimulatedArm, draw_outcomes


def test_holm_adjusted_counts_undecided_claims() -> None:
    adjusted = holm_adjusted([0.01, float("nan"), 0.02], 0.05)
    assert adjusted[0] == pytest.approx(0.03)
    assert adjusted[1] != adjusted[1]
    assert adjusted[2] == pytest.approx(0.04)


def test_each_side_is_a_family_of_its_own() -> None:
    labels = ["supported", "refuted", "refuted", "inconclusive"]
    found = judge_family(labels, [0.012, 1, math.nan, 0.3], [1, 0.02, math.nan, 0.9], [0.05] * 4)  # type: ignore[arg-type]
    assert [result.holds for result in found] == [True, False, True, False]
    assert found[0].p_adjusted == pytest.approx(0.048) and found[1].p_refuted_adjusted == pytest.approx(0.08)
    assert judge_family([], [], [], []) == []


def test_a_verdict_that_does_not_hold_over_all_claims_is_inconclusive() -> None:
    trials, outcomes = tables(seeds(4, [0.55, 0.56, 0.57, 0.58]), 600)
    claims = [make_claim("reaches", id=f"c{k}", reference=0.63, direction="at-least", margin=0.01) for k in range(8)]
    alone = decide_claim(claims[0], StudyEvidence(trials, outcomes))
    assert alone.label == alone.own_label == "refuted" and 0.05 / 8 < alone.p_refuted <= 0.025
    together = decide_claims(claims, StudyEvidence(trials, outcomes))[0]
    assert (together.label, together.own_label, together.holds_in_family) == ("inconclusive", "refuted", False)
    assert "Refuted on its own" in together.reason and "8 claims" in together.reason
    assert adjust_verdicts([alone])[0].label == "refuted"


@pytest.mark.slow
def test_holm_adjusts_over_the_claims_of_one_report() -> None:
    trials, outcomes = tables(size_runs(0.66, 0.715, 0.66, count=4), 600)
    claims = [SPOT.model_copy(update={"id": f"c{k}", "reading": "interior"}) for k in range(2)]
    claims += [JUDGES, REACHES.model_copy(update={"where": {"model": "small"}, "reference": 0.9})]
    found = decide_claims(claims, StudyEvidence(trials, outcomes))
    tested = [verdict.p for verdict in found if not math.isnan(verdict.p)]
    expected = multipletests([*tested, 1.0], method="holm")[1][:-1]
    assert math.isnan(found[2].p) and math.isnan(found[2].p_adjusted) and found[2].holds_in_family is False
    assert len(tested) == 3 and [v.p_adjusted for v in found if v.p_adjusted == v.p_adjusted] == pytest.approx(expected)
    assert all(verdict.p_adjusted >= verdict.p for verdict in (found[0], found[1], found[3]))
    for verdict in found:
        assert verdict.holds_in_family == (verdict.label != "inconclusive")
        assert verdict.label in (verdict.own_label, "inconclusive")


@pytest.mark.slow
def test_false_refutations_of_eight_claims_stay_below_their_level() -> None:
    """Eight true claims at their limit, each on an arm of its own: any refuted in at most 5 % of 200 studies."""
    rng, studies, any_refuted = np.random.default_rng(8), 200, 0
    models = [f"m{k}" for k in range(8)]
    claims = [
        make_claim("reaches", id=m, reference=0.65, margin=0.05, direction="at-least", where={"model": m})
        for m in models
    ]
    trials, _ = tables([{**each, "model": m} for m in models for each in seeds(3)])
    truth = GroundTruth(tuple(SimulatedArm(0.6, {"model": m}) for m in models), {"G1_tool": 120}, seed_sd=0.1)
    for _ in range(studies):
        outcomes = draw_outcomes(trials, truth, rng)
        study = StudyEvidence(trials, outcomes, ("model",), matrix=build_pass_matrix(trials, outcomes))
        verdicts = [decide_claim(claim, study, with_robustness_checks=False) for claim in claims]
        any_refuted += any(verdict.label == "refuted" for verdict in adjust_verdicts(verdicts))
    assert any_refuted / studies <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)
