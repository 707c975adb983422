"""Variants of the outcomes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from claim_cases import SPOT, STABLE, clipping_runs, decide_runs, size_runs
from claim_tables import tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.robustness import compute_definition_matrices, find_solvable_queries
from sweeper.claims.tables import StudyEvidence
from sweeper.statistics import score_stabletoolbench, score_strict, score_tooleval


def test_robustness_checks_decide_on_every_variant() -> None:
    trials, outcomes = tables(size_runs(0.5, 0.8, 0.8))
    middle = trials.loc[trials["model"] == "middle", "fingerprint"]
    # Half of what the middle solves was leaked: without it, it is no better.
    ids = sorted(
        set(outcomes.loc[outcomes["fingerprint"].isin(middle) & (outcomes["passed"] == 1), "query_id"]), key=int
    )
    small = trials.loc[trials["model"] == "small", "fingerprint"]
    solved = set(outcomes.loc[outcomes["fingerprint"].isin(small) & (outcomes["passed"] == 1), "query_id"])
    subset = dict(zip(outcomes["query_id"], outcomes["subset"], strict=True))
    leaked = [(subset[i], i) for i in ids if i not in solved]
    found = decide_claim(SPOT, StudyEvidence(trials, outcomes, leaked_queries=leaked))
    rows = {row.name: row for row in found.robustness_checks}
    assert list(rows) == [
        "definition: strict",
        "definition: stabletoolbench",
        "definition: tooleval",
        "without leaked queries",
        "solvable queries only",
    ]
    assert found.label == rows["definition: strict"].label == "supported"
    assert rows["without leaked queries"].label == "inconclusive"
    assert rows["without leaked queries"].n_queries == 600 - len(leaked)
    plain = decide_claim(SPOT, StudyEvidence(trials, outcomes.drop(columns=["status", "task"])))
    gone = {row.name: row for row in plain.robustness_checks}
    assert all(row.label is None and row.reason and math.isnan(row.estimate) for row in gone.values())
    assert "no column status" in gone["definition: tooleval"].reason
    assert decide_runs(STABLE, clipping_runs(9), with_robustness_checks=True).robustness_checks == ()


def test_numbers_of_every_variant_are_those_of_one_comparison() -> None:
    """Without the leaked queries another comparison binds; the panel stays with the claim's own."""
    # The middle is far above the small one, and level with the large one: against the large one it binds.
    trials, outcomes = tables(size_runs(0.2, 0.6, 0.6))
    middle, large = (trials.loc[trials["model"] == name, "fingerprint"] for name in ("middle", "large"))
    solved = [
        {q for q, p in zip(own["query_id"], own["passed"], strict=True) if p}
        for own in (outcomes[outcomes["fingerprint"].isin(names)] for names in (middle, large))
    ]
    small = trials.loc[trials["model"] == "small", "fingerprint"]
    easy = set(outcomes.loc[outcomes["fingerprint"].isin(small) & (outcomes["passed"] == 1), "query_id"])
    subset = dict(zip(outcomes["query_id"], outcomes["subset"], strict=True))
    leaked = [(subset[query], query) for query in (solved[0] | solved[1]) - easy]
    found = decide_claim(SPOT, StudyEvidence(trials, outcomes, leaked_queries=leaked))
    assert found.binding_comparison is not None
    names = found.binding_comparison.names
    clean = outcomes[~outcomes["query_id"].isin([query for _, query in leaked])]
    alone = decide_claim(SPOT, StudyEvidence(trials, clean), with_robustness_checks=False)
    assert alone.binding_comparison is not None
    assert alone.binding_comparison.names != names
    same = next(c for c in alone.comparisons if c.names == names)
    check = next(check for check in found.robustness_checks if check.name == "without leaked queries")
    assert check.label == alone.label
    assert (check.estimate, check.interval.low) == (same.estimate.estimate, same.estimate.low)


def test_definition_matrices_equal_scores_of_single_queries() -> None:
    rng = np.random.default_rng(8)
    rows = [
        {
            "fingerprint": f"f{k % 3}",
            "subset": "G1_tool",
            "query_id": f"q{k // 3}",
            "judge": "llm",
            "vote": vote,
            "passed": math.nan,
            "status": rng.choice(["solved", "unsolved", "unsure", None]),
            "task": rng.choice(["solvable", "unsolvable", "unsure", None]),
            "answered": bool(rng.integers(2)),
        }
        for k in range(90)
        for vote in range(4)
    ]
    votes = pd.DataFrame(rows)
    single = {
        "strict": score_strict,
        "stabletoolbench": score_stabletoolbench,
        "tooleval": score_tooleval,
    }
    found = compute_definition_matrices(votes)
    for name, definition in single.items():
        for (run_name, query), group in votes.groupby(["fingerprint", "query_id"]):
            value = found[name].loc[("G1_tool", query), run_name]
            assert value == pytest.approx(definition(group.to_dict("records")), nan_ok=True), name
    assert find_solvable_queries(votes.assign(task=None)) is None
    assert find_solvable_queries(votes.assign(task="unsolvable")) == set()
