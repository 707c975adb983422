from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statistics_tables import study

from sweeper.claims.tables import StudyTables
from sweeper.claims.verdict import Verdict, decide_claim, holm_adjusted
from sweeper.config import Claim
from sweeper.statistics import build_pass_matrix

SPOT = Claim(id="spot", text="The middle is best.", kind="best-of", axis="model", candidate="middle", margin=0.05)
ONCE = Claim(
    id="once", text="One epoch is enough.", kind="no-gain-beyond", axis="num_train_epochs", candidate=1, margin=0.05
)


def decided(claim: Claim, rates: dict[tuple[str, float], Any], **more: Any) -> Verdict:
    trials, outcomes = study(rates, **more)
    return decide_claim(claim, StudyTables(trials, outcomes), with_robustness_checks=False)


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
def test_best_of(rates: Any, word: str, estimate: float, binding: tuple[str, str]) -> None:
    found = decided(SPOT, rates)
    assert found.label == word and found.estimate == pytest.approx(estimate)
    assert (
        found.binding_comparison is not None
        and (found.binding_comparison.first, found.binding_comparison.second) == binding
    )
    assert found.interval.low <= found.estimate <= found.interval.high
    assert (found.n, found.n_queries, found.n_seeds) == (400, 200, 2)


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
def test_no_gain_beyond(one: float, three: float, five: float, word: str) -> None:
    assert decided(ONCE, {("small", 1): one, ("small", 3): three, ("small", 5): five}).label == word


def test_all_pass_on_few_queries_shows_nothing() -> None:
    """Twenty queries without a difference still allow one of 17 points."""
    found = decided(ONCE, {("small", 1): 1.0, ("small", 3): 1.0}, queries=20)
    assert found.label == "inconclusive" and found.interval.high > 0.15


def test_other_axes_are_matched_and_where_fixes_them() -> None:
    rates = {(m, e): r for m, r in (("small", 0.4), ("large", 0.9)) for e in (1, 3)}
    rates["small", 3] = 0.8
    both = decided(ONCE, rates)
    assert both.estimate == pytest.approx(0.2) and both.n == 800
    large = decided(ONCE.model_copy(update={"where": {"model": "large"}}), rates)
    assert large.estimate == 0.0 and large.label == "supported" and large.n == 400


@pytest.mark.parametrize("status", ["FAILED", "PENDING", "RUNNING", "PRUNED"])
def test_never_supported_on_the_survivors(status: str) -> None:
    found = decided(SPOT, sizes(0.5, 0.8, 0.8), status={"large-1-1": status})
    assert found.label == "inconclusive"
    assert status in found.reason and "large" in found.reason and "seed 1" in found.reason
    assert found.estimate == found.estimate, "what the survivors show is still there to read"


def test_unevaluated_run_is_named() -> None:
    trials, outcomes = study(sizes(0.5, 0.8, 0.8))
    found = decide_claim(SPOT, StudyTables(trials, outcomes[outcomes["fingerprint"] != "small-1-0"]))
    assert found.label == "inconclusive" and "UNEVALUATED" in found.reason
    nothing = decide_claim(SPOT, StudyTables(trials, pd.DataFrame()))
    assert nothing.label == "inconclusive" and math.isnan(nothing.estimate) and nothing.n == 0


def test_missing_arm_or_side_is_named() -> None:
    gone = decided(SPOT, {("small", 1): 0.5, ("large", 1): 0.8})
    assert gone.label == "inconclusive" and "middle" in gone.reason and gone.comparisons == ()
    edge = decided(SPOT, {("small", 1): 0.5, ("middle", 1): 0.8})
    assert edge.label == "inconclusive" and "larger" in edge.reason
    assert decided(SPOT, {("small", 1): 0.9, ("middle", 1): 0.5}).label == "refuted"
    assert decided(ONCE, {("small", 1): 0.9}).label == "inconclusive"


def test_a_diverged_run_is_a_result_that_fails_every_query() -> None:
    found = decided(SPOT, sizes(0.5, 0.8, 0.8), status={"large-1-0": "DIVERGED", "large-1-1": "DIVERGED"})
    assert found.label == "supported" and "Diverged runs count as passing nothing (here 2)" in found.reason
    worse = next(c for c in found.comparisons if c.first == "large")
    assert worse.estimate.estimate == pytest.approx(-0.8)


def test_one_seed_decides_nothing_and_seeds_that_disagree_neither() -> None:
    single = decided(SPOT, sizes(0.5, 0.8, 0.8), seeds=1)
    assert single.label == "inconclusive" and "One seed" in single.reason and single.n_seeds == 1
    assert single.interval.low == single.interval.low
    split = decided(SPOT, sizes(0.5, [0.95, 0.55], 0.5))
    assert split.label == "inconclusive", "a gain of 45 and of 5 points, at two seeds"


def test_refutation_is_corrected_for_the_number_of_comparisons() -> None:
    """A difference that is beyond the margin at 95 % but not at 1 - 2 alpha / 8 (Bonferroni over eight arms)."""
    epochs = {("small", float(e)): 0.5 for e in range(1, 10)}
    epochs["small", 9.0] = 0.575
    alone = decided(ONCE, {k: v for k, v in epochs.items() if k[1] in (1, 9)}, queries=600)
    among = decided(ONCE, epochs, queries=600)
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
        tables = StudyTables(trials, outcomes, matrix=matrix)
        wrong += decide_claim(ONCE, tables, with_robustness_checks=False).label == "supported"
    assert wrong / studies < 0.025 + 3 * math.sqrt(0.025 * 0.975 / studies)


def test_holm_adjusted_counts_undecided_claims() -> None:
    adjusted = holm_adjusted([0.01, float("nan"), 0.02], 0.05)
    assert adjusted[0] == pytest.approx(0.03)
    assert adjusted[1] != adjusted[1]
    assert adjusted[2] == pytest.approx(0.04)
