from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from claim_cases import CASES, SPOT, decide_runs, judge_twice, size_runs
from claim_tables import tables
from statistics_tables import study

from sweeper.claims.decide import decide_claim, select_judge_outcomes
from sweeper.claims.tables import StudyEvidence
from sweeper.claims.verdict import Verdict
from sweeper.config import Claim
from sweeper.errors import DataError
from sweeper.statistics import build_pass_matrix

ONE_EPOCH = Claim(
    id="once", text="One epoch is enough.", kind="no-gain-beyond", axis="num_train_epochs", candidate=1, margin=0.05
)


def decided(claim: Claim, rates: dict[tuple[str, float], Any], **more: Any) -> Verdict:
    trials, outcomes = study(rates, **more)
    return decide_claim(claim, StudyEvidence(trials, outcomes), with_robustness_checks=False)


def sizes(small: Any, middle: Any, large: Any) -> dict[tuple[str, float], Any]:
    return {("small", 1): small, ("middle", 1): middle, ("large", 1): large}


@pytest.mark.parametrize(
    ("rates", "word", "estimate", "binding"),
    [
        (sizes(0.5, 0.8, 0.8), "supported", 0.0, ("large", "middle")),
        (sizes(0.5, 0.8, 0.3), "supported", 0.3, ("middle", "small")),
        (sizes(0.5, 0.8, 0.95), "refuted", 0.15, ("large", "middle")),
        (sizes(0.9, 0.6, 0.6), "refuted", -0.3, ("middle", "small")),
        (sizes(0.8, 0.8, 0.5), "inconclusive", 0.0, ("middle", "small")),
        (sizes(0.5, 0.8, 0.84), "inconclusive", 0.04, ("large", "middle")),
    ],
)
def test_best_of_is_decided_by_its_closest_comparison(
    rates: Any, word: str, estimate: float, binding: tuple[str, str]
) -> None:
    found = decided(SPOT, rates)
    assert found.label == word and found.estimate == pytest.approx(estimate)
    assert (
        found.binding_comparison is not None
        and (found.binding_comparison.first, found.binding_comparison.second) == binding
    )
    assert found.interval.low <= found.estimate <= found.interval.high
    assert (found.n, found.n_queries, found.n_seeds) == (800, 200, 2), "outcomes of both arms"


@pytest.mark.parametrize(
    ("one", "three", "five", "word"),
    [
        (0.6, 0.6, 0.5, "supported"),
        (0.6, 0.6, 0.8, "refuted"),
        (0.6, 0.64, 0.6, "inconclusive"),
        (1.0, 1.0, 1.0, "supported"),
        (0.0, 0.0, 0.0, "supported"),
    ],
)
def test_no_gain_beyond_by_largest_gain(one: float, three: float, five: float, word: str) -> None:
    assert decided(ONE_EPOCH, {("small", 1): one, ("small", 3): three, ("small", 5): five}).label == word


def test_equal_arms_on_few_queries_are_inconclusive() -> None:
    """Twenty queries without a difference still allow one of 17 points."""
    found = decided(ONE_EPOCH, {("small", 1): 1.0, ("small", 3): 1.0}, queries=20)
    assert found.label == "inconclusive" and found.interval.high > 0.15


def test_other_axes_are_matched_and_where_fixes_them() -> None:
    rates = {(m, e): r for m, r in (("small", 0.4), ("large", 0.9)) for e in (1, 3)}
    rates["small", 3] = 0.8
    both = decided(ONE_EPOCH, rates)
    assert both.estimate == pytest.approx(0.2) and both.n == 800
    large = decided(ONE_EPOCH.model_copy(update={"where": {"model": "large"}}), rates)
    assert large.estimate == 0.0 and large.label == "supported" and large.n == 400


@pytest.mark.parametrize("status", ["FAILED", "PENDING", "RUNNING", "PRUNED"])
def test_incomplete_study_is_not_supported_by_its_survivors(status: str) -> None:
    found = decided(SPOT, sizes(0.5, 0.8, 0.8), status={"large-1-1": status})
    assert found.label == "inconclusive"
    assert status in found.reason and "large" in found.reason and "seed 1" in found.reason
    assert found.estimate == found.estimate, "what the survivors show is still there to read"


def test_unevaluated_run_is_named() -> None:
    trials, outcomes = study(sizes(0.5, 0.8, 0.8))
    found = decide_claim(SPOT, StudyEvidence(trials, outcomes[outcomes["fingerprint"] != "small-1-0"]))
    assert found.label == "inconclusive" and "UNEVALUATED" in found.reason
    nothing = decide_claim(SPOT, StudyEvidence(trials, pd.DataFrame()))
    assert nothing.label == "inconclusive" and math.isnan(nothing.estimate) and nothing.n == 0


def test_missing_arm_or_side_is_named() -> None:
    gone = decided(SPOT, {("small", 1): 0.5, ("large", 1): 0.8})
    assert gone.label == "inconclusive" and "middle" in gone.reason and gone.comparisons == ()
    edge = decided(SPOT, {("small", 1): 0.5, ("middle", 1): 0.8})
    assert edge.label == "inconclusive" and "larger" in edge.reason
    assert decided(SPOT, {("small", 1): 0.9, ("middle", 1): 0.5}).label == "refuted"
    assert decided(ONE_EPOCH, {("small", 1): 0.9}).label == "inconclusive"


def test_diverged_run_counts_as_failing_every_query() -> None:
    found = decided(SPOT, sizes(0.5, 0.8, 0.8), status={"large-1-0": "DIVERGED", "large-1-1": "DIVERGED"})
    assert found.label == "supported" and "Diverged runs count as passing nothing (here 2)" in found.reason
    worse = next(c for c in found.comparisons if c.first == "large")
    assert worse.estimate.estimate == pytest.approx(-0.8)


def test_one_seed_or_disagreeing_seeds_are_inconclusive() -> None:
    single = decided(SPOT, sizes(0.5, 0.8, 0.8), seeds=1)
    assert single.label == "inconclusive" and "One seed" in single.reason and single.n_seeds == 1
    assert single.interval.low == single.interval.low
    split = decided(SPOT, sizes(0.5, [0.95, 0.55], 0.5))
    assert split.label == "inconclusive", "a gain of 45 and of 5 points, at two seeds"


def test_refutation_is_corrected_for_the_number_of_comparisons() -> None:
    """A difference that is beyond the margin at 95 % but not at 1 - 2 alpha / 8 (Bonferroni over eight arms)."""
    epochs = {("small", float(e)): 0.5 for e in range(1, 10)}
    epochs["small", 9.0] = 0.575
    alone = decided(ONE_EPOCH, {k: v for k, v in epochs.items() if k[1] in (1, 9)}, queries=600)
    among = decided(ONE_EPOCH, epochs, queries=600)
    assert (alone.label, among.label) == ("refuted", "inconclusive")


@pytest.mark.slow
def test_false_support_is_rare_when_the_truth_is_at_the_margin() -> None:
    """Truth: three epochs are better by exactly the margin. `supported` must come at most alpha / 2 of the time."""
    rng, wrong, studies = np.random.default_rng(3), 0, 120
    trials, outcomes = study({("small", 1): 0.5, ("small", 3): 0.5}, queries=150)
    matrix = build_pass_matrix(trials, outcomes)
    rate = np.where(matrix.columns.str.contains("-3-"), 0.55, 0.5)
    for _ in range(studies):
        matrix[:] = (rng.random(matrix.shape) < rate).astype(float)
        simulated = StudyEvidence(trials, outcomes, matrix=matrix)
        wrong += decide_claim(ONE_EPOCH, simulated, with_robustness_checks=False).label == "supported"
    assert wrong / studies < 0.025 + 3 * math.sqrt(0.025 * 0.975 / studies)


def test_several_judges_need_a_deciding_judge() -> None:
    trials, outcomes = judge_twice(0.02)
    with pytest.raises(DataError, match="one judge"):
        decide_claim(SPOT, StudyEvidence(trials, outcomes))
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
        assert decide_claim(asks, StudyEvidence(trials, single)).label == "inconclusive"
    # Divergence needs no outcome.
    expected = "supported" if kind == "stabilises" else "inconclusive"
    unscored = tables(runs)[1].assign(passed=math.nan)
    assert decide_claim(asks, StudyEvidence(tables(runs)[0], unscored)).label == expected
    assert decide_claim(asks, StudyEvidence(tables(runs)[0], pd.DataFrame())).label == expected


@pytest.mark.parametrize("kind", CASES)
def test_duplicate_outcomes_are_an_error(kind: str) -> None:
    asks, runs = CASES[kind]
    trials, outcomes = tables(runs)
    with pytest.raises(DataError, match="duplicate"):
        decide_claim(asks, StudyEvidence(trials, pd.concat([outcomes, outcomes.tail(1)])))


def test_unequal_query_sets_are_compared_on_shared_queries() -> None:
    trials, outcomes = tables(size_runs(0.5, 0.8, 0.8))
    large = trials.loc[trials["model"] == "large", "fingerprint"]
    short = outcomes[~(outcomes["fingerprint"].isin(large) & (outcomes["query_id"].astype(int) >= 500))]
    found = decide_claim(SPOT, StudyEvidence(trials, short))
    against = next(c for c in found.comparisons if c.first == "large")
    assert against.estimate.n_queries == 500 and against.estimate.exclusions.queries == 100
    assert "100 queries that an arm has no score for are left out" in found.reason


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
