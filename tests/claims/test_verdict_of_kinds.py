"""Verdicts of every kind: incomplete studies, p-values, Holm."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from claim_cases import CASES, JUDGES, REACHES, SPOT, decide_runs, judge_twice, size_runs
from claim_tables import tables
from statsmodels.stats.multitest import multipletests

from sweeper.claims.tables import StudyTables
from sweeper.claims.verdict import decide_claim, decide_claims, select_judge_outcomes
from sweeper.errors import DataError


def test_several_judges_need_a_deciding_judge() -> None:
    trials, outcomes = judge_twice(0.02)
    with pytest.raises(DataError, match="one judge"):
        decide_claim(SPOT, StudyTables(trials, outcomes))
    with pytest.raises(DataError, match="nobody"):
        select_judge_outcomes(outcomes, "nobody")


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("status", ["PRUNED", "FAILED", "PENDING"])
def test_incomplete_study_is_inconclusive(kind: str, status: str) -> None:
    asks, runs = CASES[kind]
    lost = [each | {"status": status} if k == 0 else each for k, each in enumerate(runs)]
    found = decide_runs(asks, lost)
    assert found.label == "inconclusive" and status in found.reason and math.isnan(found.p)
    assert (
        found.required_sample_size is not None
        and found.required_sample_size.seeds is None
        and "without a result" in found.required_sample_size.reason
    )


@pytest.mark.parametrize("kind", CASES)
def test_one_seed_one_query_or_no_outcome_is_inconclusive(kind: str) -> None:
    asks, runs = CASES[kind]
    one = decide_runs(asks, [each for each in runs if each["seed"] == 0])
    assert one.label == "inconclusive" and math.isnan(one.p)
    if kind != "stabilises":
        # Six queries, one of each subset: then one.
        assert decide_runs(asks, runs, queries=6).label == "inconclusive"
        trials, outcomes = tables(runs)
        single = outcomes[outcomes["query_id"] == "1"]
        assert decide_claim(asks, StudyTables(trials, single)).label == "inconclusive"
    unscored = tables(runs)[1].assign(passed=math.nan)
    found = decide_claim(asks, StudyTables(tables(runs)[0], unscored))
    assert found.label == "inconclusive"
    assert decide_claim(asks, StudyTables(tables(runs)[0], pd.DataFrame())).label == "inconclusive"


@pytest.mark.parametrize("kind", CASES)
def test_duplicate_outcomes_are_an_error(kind: str) -> None:
    asks, runs = CASES[kind]
    trials, outcomes = tables(runs)
    with pytest.raises(DataError, match="duplicate"):
        decide_claim(asks, StudyTables(trials, pd.concat([outcomes, outcomes.tail(1)])))


def test_unequal_query_sets_are_compared_on_shared_queries() -> None:
    trials, outcomes = tables(size_runs(0.5, 0.8, 0.8))
    large = trials.loc[trials["model"] == "large", "fingerprint"]
    short = outcomes[~(outcomes["fingerprint"].isin(large) & (outcomes["query_id"].astype(int) >= 500))]
    found = decide_claim(SPOT, StudyTables(trials, short))
    against = next(c for c in found.comparisons if c.first == "large")
    assert against.estimate.n_queries == 500 and against.estimate.exclusions.queries == 100
    assert "100 queries not scored" in found.reason


@pytest.mark.parametrize("kind", CASES)
def test_p_is_the_smallest_level_that_supports_the_claim(kind: str) -> None:
    asks, runs = CASES[kind]
    found = decide_runs(asks, runs)
    assert found.label == "supported" and 0 < found.p <= asks.alpha
    assert found.p == max(c.p for c in found.comparisons if c.is_deciding)
    if 1e-6 < found.p < 0.9:
        above, below = (asks.model_copy(update={"alpha": found.p * factor}) for factor in (1.01, 0.99))
        assert decide_runs(above, runs).label == "supported"
        assert decide_runs(below, runs).label != "supported"


@pytest.mark.slow
def test_holm_adjusts_over_the_claims_of_one_report() -> None:
    trials, outcomes = tables(size_runs(0.66, 0.715, 0.66, count=4), 600)
    claims = [SPOT.model_copy(update={"id": f"c{k}", "reading": "interior"}) for k in range(2)]
    claims += [JUDGES, REACHES.model_copy(update={"where": {"model": "small"}, "reference": 0.9})]
    found = decide_claims(claims, StudyTables(trials, outcomes))
    tested = [verdict.p for verdict in found if not math.isnan(verdict.p)]
    expected = multipletests([*tested, 1.0], method="holm")[1][:-1]
    assert math.isnan(found[2].p) and math.isnan(found[2].p_adjusted) and found[2].is_supported_in_family is False
    assert len(tested) == 3 and [v.p_adjusted for v in found if v.p_adjusted == v.p_adjusted] == pytest.approx(expected)
    assert all(verdict.p_adjusted >= verdict.p for verdict in (found[0], found[1], found[3]))
    for verdict in found:
        assert verdict.is_supported_in_family == (verdict.label == "supported" and verdict.p_adjusted <= 0.05)
