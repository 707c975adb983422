from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statistics_tables import rows, study

from sweeper.errors import DataError
from sweeper.statistics import build_pass_matrix


def test_pass_matrix_holds_results_and_diverged_runs_pass_nothing() -> None:
    status = {"small-1-0": "FAILED", "small-1-1": "DIVERGED"}
    trials, outcomes = study({("small", 1): 0.5, ("middle", 1): 0.25}, queries=8, status=status)
    matrix = build_pass_matrix(trials, outcomes)
    assert sorted(matrix.columns) == ["middle-1-0", "middle-1-1", "small-1-1"]
    assert matrix["small-1-1"].sum() == 0 and len(matrix) == 8
    assert matrix["middle-1-0"].sum() == 2


def test_unevaluated_diverged_run_fails_every_query() -> None:
    trials, outcomes = study({("small", 1): 0.5, ("middle", 1): 0.5}, queries=8, status={"small-1-0": "DIVERGED"})
    matrix = build_pass_matrix(trials, outcomes[outcomes["fingerprint"] != "small-1-0"])
    assert (matrix["small-1-0"] == 0).all()


def test_pass_matrix_takes_the_majority_and_a_tie_fails() -> None:
    trials, _ = study({("small", 1): 0.5}, seeds=1)
    votes = [[1, 1, 1, np.nan], [1, 0, 0, np.nan], [1, 1, 1, np.nan], [0, 0, 1, np.nan]]
    outcomes = pd.concat([rows("small-1-0", vote, vote=i) for i, vote in enumerate(votes)])
    passed = build_pass_matrix(trials, outcomes)["small-1-0"].droplevel("subset")
    assert passed[["q0", "q1", "q2"]].tolist() == [1.0, 0.0, 1.0] and np.isnan(passed["q3"])


def test_build_pass_matrix_refuses_invalid_tables() -> None:
    trials, outcomes = study({("small", 1): 0.5}, seeds=1, queries=4)
    broken = {
        "duplicate rows": pd.concat([outcomes, outcomes.head(1)]),
        "oracle": pd.concat([outcomes, outcomes.assign(judge="rules")]),
        "other values": outcomes.assign(passed=2.0),
        "stranger": outcomes.assign(fingerprint="stranger"),
        "no column": outcomes.drop(columns="vote"),
    }
    for message, table in broken.items():
        with pytest.raises(DataError, match=message):
            build_pass_matrix(trials, table)
    with pytest.raises(DataError, match="twice"):
        build_pass_matrix(pd.concat([trials, trials]), outcomes)


def test_build_pass_matrix_without_outcomes_is_empty() -> None:
    trials, _ = study({("small", 1): 0.5})
    assert build_pass_matrix(trials, pd.DataFrame()).empty
