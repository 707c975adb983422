"""`generalises`: unseen against seen tools."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from claim_cases import GENERAL, decide_runs
from claim_tables import seeds, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.tables import StudyEvidence


@pytest.mark.parametrize(
    ("unseen", "direction", "word"),
    [
        (0.8, "at-least", "supported"),
        (0.5, "at-least", "refuted"),
        (0.76, "at-least", "inconclusive"),
        (0.95, "at-least", "supported"),
        (0.95, "about", "refuted"),
        (0.8, "about", "supported"),
    ],
)
def test_generalises_by_direction(unseen: float, direction: str, word: str) -> None:
    rate = {"_instruction": 0.8, "_tool": unseen, "_category": unseen}
    found = decide_runs(GENERAL.model_copy(update={"direction": direction}), seeds(3, rate), queries=6000)
    assert found.label == word and found.estimate == pytest.approx(unseen - 0.8, abs=0.002)


def test_generalises_names_missing_subsets() -> None:
    trials, outcomes = tables(seeds(3, 0.8))
    seen = outcomes[outcomes["subset"].str.endswith("_instruction")]
    found = decide_claim(GENERAL, StudyEvidence(trials, seen))
    assert found.label == "inconclusive" and "no unseen" in found.reason
    odd = outcomes.assign(subset=outcomes["subset"].str.replace("G3_instruction", "G3_other"))
    assert "G3_other" in decide_claim(GENERAL, StudyEvidence(trials, odd)).reason


def draw_tools(
    rng: np.random.Generator, tool_sd: float, size: int
) -> tuple[pd.DataFrame, pd.DataFrame, dict[Any, str]]:
    """Runs of four seeds, 120 seen and 120 unseen queries, `size` about each tool; all rates are 60 % on average."""
    trials, _ = tables(seeds(4))
    index = pd.MultiIndex.from_arrays(
        [np.repeat(["G1_instruction", "G1_tool"], 120), [str(k) for k in range(240)]], names=["subset", "query_id"]
    )
    tools = np.arange(240) // size
    rates = 0.6 + rng.normal(0, tool_sd, tools.max() + 1)[tools][:, None] + rng.normal(0, 0.03, (1, 4))
    matrix = pd.DataFrame((rng.random((240, 4)) < rates).astype(float), index, list(trials["fingerprint"]))
    return trials, matrix, {key: f"tool {tool}" for key, tool in zip(index, tools, strict=True)}


@pytest.mark.slow
def test_queries_about_one_tool_count_together() -> None:
    """With 15 queries a tool, single queries cover the true difference of 0 too seldom (300 studies)."""
    rng, studies, covered = np.random.default_rng(7), 300, {"tool": 0, "none": 0}
    for _ in range(studies):
        trials, matrix, tools = draw_tools(rng, 0.15, 15)
        study = StudyEvidence(trials, pd.DataFrame(), ("model",), matrix, query_clusters={"tool": tools})
        for name in covered:
            claim = GENERAL.model_copy(update={"clusters": name})
            found = decide_claim(claim, study, with_robustness_checks=False)
            covered[name] += found.interval.low <= 0 <= found.interval.high
    assert covered["tool"] / studies >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / studies)
    assert covered["none"] / studies < 0.85


def test_a_tool_for_each_query_is_as_no_tools() -> None:
    trials, matrix, tools = draw_tools(np.random.default_rng(1), 0.1, 1)
    study = StudyEvidence(trials, pd.DataFrame(), ("model",), matrix, query_clusters={"tool": tools})
    by_tool = decide_claim(GENERAL, study, with_robustness_checks=False)
    by_query = decide_claim(GENERAL.model_copy(update={"clusters": "none"}), study, with_robustness_checks=False)
    assert by_tool.interval.low == pytest.approx(by_query.interval.low)
    assert by_tool.interval.high == pytest.approx(by_query.interval.high)
    assert "count together: 120 unseen and 120 seen" in by_tool.reason
    assert "counts by itself, as the claim says" in by_query.reason


def test_unknown_tools_are_said() -> None:
    trials, matrix, _ = draw_tools(np.random.default_rng(1), 0.1, 15)
    found = decide_claim(GENERAL, StudyEvidence(trials, pd.DataFrame(), ("model",), matrix))
    assert "The tool of each query is not known" in found.reason


def test_one_tool_on_a_side_decides_nothing() -> None:
    trials, matrix, tools = draw_tools(np.random.default_rng(1), 0.0, 120)
    study = StudyEvidence(trials, pd.DataFrame(), ("model",), matrix, query_clusters={"tool": tools})
    found = decide_claim(GENERAL, study, with_robustness_checks=False)
    assert found.label == "inconclusive" and "all queries on one side are about one tool" in found.reason
