"""Assumed truths of a simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from claim_cases import ONCE, SPOT, STABLE, make_claim, size_runs
from claim_tables import tables

from sweeper.claims.operating_characteristics import (
    can_simulate,
    parse_optional_stopping,
    parse_truth,
    simulate_verdicts,
)
from sweeper.claims.tables import StudyEvidence
from sweeper.config import Claim
from sweeper.config.claim import CollapseRule
from sweeper.errors import UsageError


def test_parse_truth_spreads_queries_over_subsets() -> None:
    truth = parse_truth({"arms": [{"rate": 0.5}], "queries": 30}, {"G1_tool": 100, "G2_category": 200})
    assert truth.subsets == {"G1_tool": 10, "G2_category": 20}
    assert parse_truth({"arms": [{"rate": 0.5}]}, {"G1_tool": 7}).subsets == {"G1_tool": 7}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"arms": "x"},
        {"arms": [{"rate": "high"}]},
        {"arms": [{"rate": 0.5}], "seeds": 3},
        {"arms": [{"rte": 1}]},
        {"arms": [{"rate": True}]},
        {"arms": [{"rate": 0.5, "where": 5}]},
        {"arms": [{"rate": 0.5}], "seed_sd": "x"},
        {"arms": [{"rate": 0.5}], "query_sd": float("nan")},
        {"arms": [{"rate": 0.5}], "votes": 1.5},
        {"arms": [{"rate": 0.5}], "queries": 0},
        {"arms": [{"rate": 0.5, "collapse": "often"}]},
        {"arms": [{"rate": 0.5, "seed_sd": None}]},
        {"arms": [{"rate": 0.5}], "tail": None},
        {"arms": [{"rate": 0.5}], "tail": 2},
        {"arms": [{"rate": 0.5, "collapse": 1.5}]},
        {"arms": [{"rate": 0.5}], "judge_noise": 2},
    ],
)
def test_parse_truth_refuses_other_documents(document: Any) -> None:
    with pytest.raises(UsageError, match="truth"):
        parse_truth(document, {"G1_tool": 10})


def test_parse_truth_reads_every_key() -> None:
    arms = [{"rate": 0.5}, {"rate": 0.6, "where": {"model": "b"}, "seed_sd": 0.3, "collapse": 0.1}]
    more = {"arm_query_sd": 0.2, "tool_sd": 0.4, "queries_per_tool": 5, "tail": 3, "judge_noise": 0.02}
    truth = parse_truth({"arms": arms, "wrongly_failed": 0.1, **more}, {"G1_tool": 10})
    assert [(arm.seed_sd, arm.collapse) for arm in truth.arms] == [(None, 0.0), (0.3, 0.1)]
    assert (truth.arm_query_sd, truth.tool_sd, truth.queries_per_tool, truth.tail) == (0.2, 0.4, 5, 3)
    assert (truth.wrongly_passed, truth.wrongly_failed) == (0.02, 0.1)


def simulate(claim: Claim, document: dict[str, Any], seeds: int, studies: int, **more: Any) -> dict[str, Any]:
    trials, _ = tables(size_runs(0.5, 0.5, 0.5, count=seeds, val_loss=math.nan))
    study = StudyEvidence(trials, pd.DataFrame(), ("model",))
    truth = parse_truth({"queries": 120, **document}, {"G1_tool": 1})
    rng = np.random.default_rng(2)
    [found] = simulate_verdicts([claim], study, truth, n_studies=studies, rng=rng, **more)
    return found.to_document()


def test_adding_seeds_until_the_verdict_changes_needs_fewer_and_errs_more() -> None:
    better = {"arms": [{"rate": 0.5}, {"rate": 0.9, "where": {"model": "middle"}}], "seed_sd": 0.05}
    fixed = simulate(SPOT, better, 5, 10)
    stopped = simulate(SPOT, better, 5, 10, has_optional_stopping=True)
    assert fixed["expected_seeds"] == 5 and 2 <= stopped["expected_seeds"] < 5
    assert fixed["power"] == stopped["power"] == 1
    assert not parse_optional_stopping({"arms": []}) and parse_optional_stopping({"optional_stopping": True})
    with pytest.raises(UsageError, match="optional_stopping"):
        parse_optional_stopping({"optional_stopping": "yes"})


def test_collapse_lowers_the_mean_and_not_the_runs_that_trained() -> None:
    document = {"arms": [{"rate": 0.8, "collapse": 0.25}], "seed_sd": 0.05}
    claim = make_claim("reaches", reference=0.7, direction="at-least", where={"model": "small"})
    rule = {"collapse": CollapseRule(above=1.0)}
    about_all = simulate(claim.model_copy(update=rule), document, 3, 5)
    about_trained = simulate(claim.model_copy(update=rule | {"estimand": "trained-runs"}), document, 3, 5)
    assert about_all["true_differences"][0]["value"] == pytest.approx(0.6 - 0.7)
    assert about_trained["true_differences"][0]["value"] == pytest.approx(0.8 - 0.7)
    assert about_all["holds"] is False and about_trained["holds"] is True


def test_only_claims_on_pass_rates_can_be_simulated() -> None:
    assert can_simulate(ONCE) and not can_simulate(STABLE)
