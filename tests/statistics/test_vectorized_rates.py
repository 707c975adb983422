"""The fast counts against the plain ones, arm by arm and run by run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from wide_tables import wide_tables

from sweeper.errors import DataError
from sweeper.statistics import (
    average_subset_rates,
    build_pass_matrix,
    compute_pass_rate,
    compute_rates_by_subset,
    compute_subset_rates,
)
from sweeper.statistics import vectorized_rates as tally

pytestmark = pytest.mark.slow


def voted(seed: int, votes: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Random votes over queries that not every run was asked, some unscored, rows in no order."""
    rng = np.random.default_rng(seed)
    trials = pd.DataFrame({"fingerprint": [f"run{i}" for i in range(9)]})
    trials["status"] = ["COMPLETE"] * 5 + ["DIVERGED", "DIVERGED", "FAILED", "PENDING"]
    rows = []
    for run in [*range(6), 7]:
        for query in range(40):
            if rng.random() < 0.1:
                continue
            for vote in range(votes):
                status = rng.choice(["solved", "unsolved", "unsure", None], p=[0.4, 0.3, 0.2, 0.1])
                rows.append(
                    {"fingerprint": f"run{run}", "subset": f"G{query % 3}", "query_id": str(query), "judge": "llm"}
                    | {"vote": vote, "status": status, "task": rng.choice(["solvable", "unsolvable", "unsure", None])}
                    | {"passed": {"solved": 1.0, None: np.nan}.get(status, 0.0), "answered": (run + query) % 5 > 0}
                    | {"finished": (run + query) % 5 > 0, "overgenerated": (run * query) % 3 == 0}
                    | {"incoherent": query % 4 == 0, "hallucinated": False}
                )
    return trials, pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)


CASES: list[Any] = [*(lambda s=s, v=v: voted(s, v) for s, v in ((0, 1), (1, 3), (2, 4))), lambda: wide_tables()[:2]]


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_vectorized_matrix_and_rates_equal_the_plain_ones(case: Any, categorical: bool) -> None:
    trials, outcomes = case()
    expected = build_pass_matrix(trials, outcomes)
    if categorical:
        names = ["fingerprint", "subset", "query_id", "judge", "status", "task"]
        outcomes = outcomes.astype(dict.fromkeys(names, "category"))
    matrix, runs = tally.summarize_outcomes(outcomes, trials)
    assert list(matrix.columns) == list(expected.columns) and list(matrix.index) == list(expected.index)
    np.testing.assert_array_equal(matrix.to_numpy(), expected.to_numpy())
    names = list(expected.columns)
    arms: list[list[str]] = [names[:2], names[2:], names[:1], [], ["not there"]]
    for arm, found in zip(arms, tally.compute_arm_rates(matrix, arms, 0.1), strict=True):
        subsets = compute_subset_rates(expected, arm, 0.1)
        same(found.overall, compute_pass_rate(expected, arm, 0.1))
        same(found.subset_mean, average_subset_rates(subsets.values(), 0.1))
        assert list(found.subsets) == list(subsets)
        for name, rate in subsets.items():
            same(found.subsets[name], rate)
    own = tally.compute_run_rates(matrix)
    assert own == pytest.approx({name: compute_pass_rate(expected, [name]).rate for name in names}, nan_ok=True)
    for name, found in runs.items():
        plain = compute_rates_by_subset(outcomes[outcomes["fingerprint"] == name], []).overall.pass_rate
        assert found["definitions"] == pytest.approx({key: rate.value for key, rate in plain.items()})
        episodes = outcomes[outcomes["fingerprint"] == name].drop_duplicates(["subset", "query_id"])
        for key in ("overgenerated", "incoherent", "hallucinated"):
            assert found["signatures"][key] == pytest.approx(episodes[key].mean())
        assert found["signatures"]["unfinished"] == pytest.approx(1 - episodes["finished"].mean())
    assert set(runs) == set(outcomes["fingerprint"])


def same(found: Any, expected: Any) -> None:
    pairs = [(getattr(found, key), getattr(expected, key)) for key in ("rate", "low", "high")]
    assert [f for f, _ in pairs] == pytest.approx([e for _, e in pairs], nan_ok=True, abs=1e-12)
    for key in ("n_queries", "n_outcomes", "n_unscored"):
        assert getattr(found, key) == getattr(expected, key)


def test_small_blocks_give_the_same_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    trials, outcomes = voted(4, 3)
    whole = tally.summarize_outcomes(outcomes, trials)
    monkeypatch.setattr(tally, "ROWS_PER_BLOCK", 50)
    parts = tally.summarize_outcomes(outcomes, trials)
    pd.testing.assert_frame_equal(whole[0], parts[0])
    assert whole[1] == parts[1]


def test_invalid_tables_raise_the_errors_of_the_plain_functions() -> None:
    trials, outcomes = voted(0, 1)
    broken = {
        "duplicate rows": pd.concat([outcomes, outcomes.iloc[:1]]),
        "llm": outcomes.assign(judge=np.where(np.arange(len(outcomes)) % 2, "llm", "rules")),
        "other values": outcomes.assign(passed=2.0),
        "stranger": outcomes.assign(fingerprint=outcomes["fingerprint"].replace("run1", "stranger")),
        "no column": outcomes.drop(columns="vote"),
        "maybe": outcomes.assign(status=outcomes["status"].replace("solved", "maybe")),
    }
    for words, table in broken.items():
        with pytest.raises(DataError, match=words):
            tally.summarize_outcomes(table, trials)
    with pytest.raises(DataError, match="twice"):
        tally.summarize_outcomes(outcomes, pd.concat([trials, trials.iloc[:1]]))
