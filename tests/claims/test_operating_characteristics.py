"""Assumed truths of a simulation."""

from __future__ import annotations

from typing import Any

import pytest
from claim_cases import ONCE, STABLE

from sweeper.claims.operating_characteristics import can_simulate, parse_truth
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
    ],
)
def test_parse_truth_refuses_other_documents(document: Any) -> None:
    with pytest.raises(UsageError, match="--truth"):
        parse_truth(document, {"G1_tool": 10})


def test_only_claims_on_pass_rates_can_be_simulated() -> None:
    assert can_simulate(ONCE) and not can_simulate(STABLE)
