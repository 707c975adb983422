from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from statistics_tables import rows, study

from sweeper.statistics import (
    average_subset_rates,
    build_pass_matrix,
    compute_pass_rate,
    compute_subset_rates,
    wilson_interval,
)

PAPER = {"G1_instruction": 78.5, "G1_category": 74, "G1_tool": 79, "G2_category": 80.5, "G2_instruction": 74.5}


def paper_outcomes() -> pd.DataFrame:
    """The paper's 350M row: five subsets of 200 queries and one of 100."""
    parts = []
    for name, percent, n in [*((s, r, 200) for s, r in PAPER.items()), ("G3_instruction", 80, 100)]:
        part = rows("small-1-0", np.arange(n) < percent / 100 * n)
        parts.append(part.assign(subset=name, query_id=part["query_id"] + name))
    return pd.concat(parts)


def test_overall_rate_weights_queries_as_the_papers_does() -> None:
    trials, _ = study({("small", 1): 0.5}, seeds=1)
    matrix = build_pass_matrix(trials, paper_outcomes())
    overall = compute_pass_rate(matrix, ["small-1-0"])
    assert overall.n_queries == 1100 and overall.rate == pytest.approx(0.7754545)
    assert (round(overall.low, 3), round(overall.high, 3)) == (0.750, 0.799)
    subsets = compute_subset_rates(matrix, ["small-1-0"])
    assert {name: rate.n_queries for name, rate in subsets.items()} == dict.fromkeys(PAPER, 200) | {
        "G3_instruction": 100
    }
    mean = average_subset_rates(subsets.values())
    assert mean.rate == pytest.approx(0.7775)
    assert mean.high - mean.low > overall.high - overall.low, "the small subset weighs more, so less is known"


def test_seeds_do_not_narrow_the_interval_of_a_rate() -> None:
    trials, outcomes = study({("small", 1): 0.3}, seeds=4, queries=50)
    found = compute_pass_rate(build_pass_matrix(trials, outcomes), list(trials["fingerprint"]))
    assert (found.n_queries, found.n_outcomes) == (50, 200)
    assert (found.low, found.high) == pytest.approx(
        (wilson_interval(15, 50, 0.05).low, wilson_interval(15, 50, 0.05).high)
    )


def test_pass_rate_counts_unscored_and_is_nan_without_scores() -> None:
    trials, _ = study({("small", 1): 0.5}, seeds=1)
    matrix = build_pass_matrix(trials, rows("small-1-0", [1, np.nan, 0, np.nan]))
    found = compute_pass_rate(matrix, ["small-1-0"])
    assert (found.rate, found.n_queries, found.n_unscored) == (0.5, 2, 2)
    nothing = compute_pass_rate(matrix, ["never run"])
    assert math.isnan(nothing.rate) and math.isnan(nothing.low) and nothing.n_queries == 0
