from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from claim_cases import GENERAL, SPOT, make_claim
from claim_tables import seeds, tables

from sweeper.claims.losses import match_run_values
from sweeper.claims.tables import (
    ClaimTables,
    group_values_by_cell,
    list_unplanned_arms,
    order_arms,
    select_single_arm,
)
from sweeper.statistics.pass_matrix import build_pass_matrix


def make_tables(*runs: dict[str, object]) -> ClaimTables:
    trials, outcomes = tables(list(runs))
    return ClaimTables(trials, build_pass_matrix(trials, outcomes), outcomes, ("model", "num_train_epochs"), None)


BOTH = make_tables(*seeds(2, 0.5, model="small"), *seeds(3, 0.7, model="middle"))


def test_runs_of_two_arms_are_paired_by_seed() -> None:
    pairing = BOTH.match_arm_runs("model", "small", "middle")
    assert [seed for seed, _, _ in pairing.pairs] == [0, 1]
    assert pairing.unmatched_runs == 1
    assert [seed for seed, _ in BOTH.list_runs(BOTH.rows)] == [0, 1, 0, 1, 2]


def test_difference_of_two_arms_is_estimated_once() -> None:
    first = BOTH.estimate_arm_difference(SPOT, "middle", "small")
    assert math.isclose(first.estimate, 0.2, abs_tol=0.01)
    assert (first.n_seeds, first.n_runs, first.exclusions.runs) == (2, 5, 0), "seeds of models need no counterpart"
    assert BOTH.estimate_arm_difference(SPOT, "middle", "small") is first
    matched = replace(BOTH, cached_differences={}).estimate_arm_difference(
        SPOT.model_copy(update={"seeds": "matched"}), "middle", "small"
    )
    assert (matched.n_seeds, matched.n_runs, matched.exclusions.runs) == (2, 2, 1)
    assert matched.seed_assumption is None
    assert first.seed_assumption is not None


def test_models_are_ordered_by_parameters() -> None:
    arms, problem = order_arms(SPOT, BOTH.rows)
    assert (list(arms), problem) == (["small", "middle"], "")


def test_unknown_size_and_missing_candidate_are_problems() -> None:
    unknown = BOTH.rows.assign(parameters=[None] * 5)
    assert "the size of" in order_arms(SPOT, unknown)[1]
    missing = BOTH.rows[BOTH.rows["model"] == "small"]
    assert order_arms(SPOT, missing) == ({}, "middle is not among the planned trials")
    assert list_unplanned_arms(missing, "model", ["small", "large"]) == ["large"]


def test_claim_about_one_arm_needs_one_arm() -> None:
    rows, name, problem = select_single_arm(GENERAL, BOTH)
    assert "model varies" in problem and len(rows) == 5
    one = make_claim("generalises", direction="at-least", axis="model", candidate="small")
    rows, name, problem = select_single_arm(one, BOTH)
    assert (len(rows), problem) == (2, "") and name.startswith("small")


def test_runs_without_a_value_are_left_out_in_pairs() -> None:
    pairing = BOTH.match_arm_runs("model", "small", "middle")
    values = {first: 1.0 for _, first, _ in pairing.pairs} | {pairing.pairs[0][2]: 2.0}
    first, second, kept, dropped = match_run_values(pairing, values)
    assert (first.tolist(), second.tolist(), kept, dropped) == ([1.0], [2.0], [0], 2)


def test_values_are_grouped_by_cell_with_nan_where_there_is_none() -> None:
    rows = pd.DataFrame({"fingerprint": ["a", "b", "c"], "clip": [0.3, math.nan, math.nan], "seed": [0, 0, 1]})
    cells = group_values_by_cell(rows, {"a": 1.0, "b": 2.0}, ["clip", "no such axis"])
    assert set(cells) == {(0.3,), (None,)}
    assert np.array_equal(cells[(None,)], [2.0, math.nan], equal_nan=True)
