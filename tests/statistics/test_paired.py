from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statistics_tables import rows, study

from sweeper.statistics import (
    Pairing,
    build_pass_matrix,
    clopper_pearson_interval,
    estimate_paired_difference,
    match_runs,
)
from sweeper.statistics.paired import (
    VarianceEstimate,
    combine_crossed_variances,
    compute_two_way_interval,
    estimate_two_way_variance,
    marginal_variances,
)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_runs_are_paired_by_seed_and_other_axes_including_nan() -> None:
    trials, _ = study({("small", 1): 0.5, ("small", 3): 0.5, ("large", 1): 0.5, ("large", 3): 0.5}, seeds=2)
    found = match_runs(trials[trials["fingerprint"] != "large-3-1"], "model", "large", "small")
    assert set(found.pairs) == {
        (0, "large-1-0", "small-1-0"),
        (1, "large-1-1", "small-1-1"),
        (0, "large-3-0", "small-3-0"),
    }
    assert found.unmatched_runs == 1


def test_paired_difference_with_one_seed_is_the_t_interval() -> None:
    """Against SciPy's one-sample t test on the per-query differences."""
    differences = generator().choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=(300, 1))
    interval, method = compute_two_way_interval(differences, alpha=0.1)
    reference = stats.ttest_1samp(differences[:, 0], 0).confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx(tuple(reference))
    assert "one seed" in method


def test_paired_difference_with_one_margin_is_students_t() -> None:
    """Differences that depend on the seed alone: seeds - 1 degrees of freedom; on the query alone: queries - 1."""
    by_seed, by_query = np.array([0.1, 0.3, 0.2]), np.linspace(-1, 1, 50)
    for values, sample in (
        (np.tile(by_seed, (50, 1)), by_seed),
        (np.tile(by_query[:, None], (1, 3)), by_query),
    ):
        spread = estimate_two_way_variance(values)
        assert spread.standard_error == pytest.approx(stats.sem(sample))
        interval = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
        assert spread.compute_half_width(0.05) == pytest.approx((interval.high - interval.low) / 2)


def test_paired_difference_half_width_is_banerjees() -> None:
    """t(3) = 3.182 and t(19) = 2.093 at 95 %, from a printed table."""
    spread = VarianceEstimate(((0.04, 3), (0.01, 19)))
    assert spread.standard_error == pytest.approx(math.sqrt(0.05))
    assert spread.compute_half_width(0.05) == pytest.approx(math.sqrt(3.182**2 * 0.04 + 2.093**2 * 0.01), rel=1e-3)
    assert VarianceEstimate().compute_half_width(0.05) == 0


def test_paired_difference_estimates_the_interaction_from_seeds() -> None:
    whole = combine_crossed_variances([(5.0, 2.0, 30)], 3.0, 2)
    assert whole.terms == ((3.0, 2), (3.0, 30)), "5 + 3 - 2"
    part = combine_crossed_variances([(5.0, 2.0, 30)], 1.0, 2)
    assert part.terms == ((1.0, 2), (4.0, 30)), "never less than the query margin"
    most = combine_crossed_variances([(1.0, 2.0, 30)], 3.0, 2)
    assert most.terms == ((3.0, 2), (0.0, 30)), "nor than the seed margin"
    two = combine_crossed_variances([(5.0, 1.0, 30), (4.0, 3.0, 10)], 2.0, 2)
    assert two.terms == ((2.0, 2), (4.5, 30), (2.5, 10))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(2, 5), st.integers(0, 2**31))
def test_paired_variances_match_the_pigeonhole_bootstrap(queries: int, seeds: int, seed: int) -> None:
    """Exactly: the variance over weights, whose covariance is that of multinomial draws of one fewer."""
    values = np.random.default_rng(seed).integers(-1, 2, (queries, seeds)).astype(np.int8)
    by_query, by_seed, both = marginal_variances(values)

    def second_moments(n: int) -> np.ndarray:
        return 1 / n**2 + (np.eye(n) - 1 / n) / (n * (n - 1))

    squares = np.einsum("qs,ij,qi,sj->", values, values, second_moments(queries), second_moments(seeds))
    assert by_query + by_seed + both == pytest.approx(squares - values.mean() ** 2)


@pytest.mark.parametrize("seeds", [2, 3, 4, 8])
def test_paired_interval_keeps_its_level_at_any_seed_spread(seeds: int) -> None:
    """Normal effects of queries, seeds and both; seeds from none of the variance to nearly all."""
    rng, studies, queries = np.random.default_rng(seeds), 4000, 20
    noise, one_sided = 4 * math.sqrt(0.05 * 0.95 / studies), 4 * math.sqrt(0.025 * 0.975 / studies)
    for share in (0.0, 0.5, 1.0):
        cells = rng.standard_normal((studies, queries, 1)) * math.sqrt(1 - share)
        cells = cells + rng.standard_normal((studies, queries, seeds)) * math.sqrt(share)
        shifts = rng.standard_normal((studies, 1, seeds))
        for ratio in (0.0, 0.1, 1.0, 3.0, 10.0, 100.0):
            values = cells + shifts * math.sqrt(ratio * (1 - share + share / seeds) * seeds / queries)
            mean, half = values.mean(axis=(1, 2)), estimate_two_way_variance(values).compute_half_width(0.05)
            assert (np.abs(mean) > half).mean() < 0.05 + noise
            assert max((mean > half).mean(), (mean < -half).mean()) < 0.025 + one_sided
    assert (np.abs(mean) > half).mean() > 0.05 - noise, "exact where seeds dominate"


def test_paired_difference_uses_shared_queries_and_counts_the_rest() -> None:
    trials, _ = study({("small", 1): 0.5, ("large", 1): 0.5}, seeds=1)
    first = rows("large-1-0", [1, 1, np.nan, 1, 0])
    second = rows("small-1-0", [0, 1, 1, 0, 0, 1])
    matrix = build_pass_matrix(trials, pd.concat([first, second]))
    found = estimate_paired_difference(matrix, match_runs(trials, "model", "large", "small"), alpha=0.05)
    assert found.n_queries == 4 and found.estimate == pytest.approx(0.5)
    assert (found.exclusions.queries, found.exclusions.outcomes) == (2, 2)
    assert (found.n_seeds, found.n_runs, found.n) == (1, 1, 4)


def test_paired_difference_without_pairs_is_nan() -> None:
    trials, outcomes = study({("small", 1): 0.5, ("large", 1): 0.5}, queries=4)
    matrix = build_pass_matrix(trials, outcomes)
    for pairing in (Pairing((), 2), Pairing(((0, "small-1-0", "gone"),), 0)):
        found = estimate_paired_difference(matrix, pairing, alpha=0.05)
        assert math.isnan(found.estimate) and math.isnan(found.low) and found.exclusions.runs == 2
    apart = pd.concat([rows("small-1-0", [1, np.nan]), rows("large-1-0", [np.nan, 1])])
    pairing = Pairing(((0, "small-1-0", "large-1-0"),), 0)
    found = estimate_paired_difference(build_pass_matrix(trials, apart), pairing, alpha=0.05)
    assert math.isnan(found.estimate) and found.exclusions.queries == 2


@pytest.mark.parametrize("seeds", [1, 2])
def test_paired_difference_of_equal_outcomes_has_an_interval_with_width(seeds: int) -> None:
    """No discordant query among 120: the bound is Clopper-Pearson's on 0 of 120, about 3.7 / 120."""
    interval, _ = compute_two_way_interval(np.zeros((120, seeds)), alpha=0.05)
    assert interval.high == pytest.approx(1 - 0.025 ** (1 / 120)) and interval.low == -interval.high
    all_better, _ = compute_two_way_interval(np.ones((5, seeds)), alpha=0.05)
    assert all_better.low < 0 < all_better.high == 1.0, "five queries decide nothing"


def test_paired_difference_accepts_one_query() -> None:
    interval, _ = compute_two_way_interval(np.array([[1.0]]), alpha=0.05)
    assert interval.low == -clopper_pearson_interval(0, 1, 0.05).high and interval.high == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**31))
def test_paired_interval_contains_the_estimate_and_mirrors_swapped_arms(queries: int, seeds: int, seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-1, 2, (queries, seeds)).astype(float)
    there, _ = compute_two_way_interval(differences, alpha=0.05)
    back, _ = compute_two_way_interval(-differences, alpha=0.05)
    assert -1 <= there.low <= differences.mean() <= there.high <= 1
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.0), (2, 0.1), (3, 0.1), (5, 0.2)])
def test_paired_interval_covers_the_truth(seeds: int, spread: float) -> None:
    """Probit model: query difficulty sd 1, an effect of 0.3, a normal shift of each arm at each seed."""
    rng = np.random.default_rng(1)
    scale = math.sqrt(2 + spread**2)
    truth, studies, covered = stats.norm.cdf(0.3 / scale) - 0.5, 200, 0
    for _ in range(studies):
        difficulty = rng.normal(0, 1, (80, 1))
        arms = [effect + difficulty + rng.normal(0, spread, (1, seeds)) for effect in (0.3, 0.0)]
        passed = [rng.random(arm.shape) < stats.norm.cdf(arm) for arm in arms]
        interval, _ = compute_two_way_interval(passed[0] * 1.0 - passed[1], alpha=0.05)
        covered += interval.low <= truth <= interval.high
    assert covered / studies > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies)
    assert covered < studies, "an interval that never misses is too wide to be of use"
