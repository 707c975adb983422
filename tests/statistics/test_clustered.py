from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.errors import DataError
from sweeper.statistics import (
    clopper_pearson_interval,
    estimate_clustered_difference,
    estimate_clustered_rate,
    wilson_interval,
)
from sweeper.statistics.clustered import ClusteredDifference, ClusteredRate
from sweeper.statistics.paired import compute_two_way_interval


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ends(found: ClusteredDifference | ClusteredRate) -> list[float]:
    return [found.interval.low, found.interval.high]


def clustered(rng: np.random.Generator, clusters: int, size: int, correlation: float, seeds: int = 1) -> np.ndarray:
    """Differences with mean 0.1; two queries of a cluster correlate by `correlation`, in whichever seeds."""
    shape = (clusters * size, seeds)
    own = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.5, 0.3], size=shape)
    shared = np.repeat(rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.5, 0.3], size=(clusters, 1)), size, axis=0)
    return np.where(rng.random(shape) < math.sqrt(correlation), shared, own)


def test_clustered_standard_error_matches_statsmodels() -> None:
    rng = generator(1)
    labels = rng.integers(0, 40, 400)
    table = clustered(rng, 400, 1, 0.0) + 0.3 * rng.normal(size=40)[labels][:, None]
    found = estimate_clustered_difference(table, labels.tolist(), 0.05)
    ols = sm.OLS(table[:, 0], np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": labels})
    assert found.standard_error == pytest.approx(float(ols.bse[0]))
    assert found.n_clusters == 40
    passed = (table[:, 0] > 0).astype(float)
    error = float(sm.OLS(passed, np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": labels}).bse[0])
    rate = passed.mean()
    assert estimate_clustered_rate(passed, labels.tolist(), 0.05).design_effect == pytest.approx(
        error**2 / (rate * (1 - rate) / 400)
    )


def test_design_effect_matches_a_known_value() -> None:
    """1 + (m - 1) rho (Kish 1965): clusters of 10 with correlation 0.25 have 3.25 times the variance."""
    rng = generator(2)
    labels = np.repeat(np.arange(4000), 10).tolist()
    table = clustered(rng, 4000, 10, 0.25)
    found = estimate_clustered_difference(table, labels, 0.05)
    assert found.design_effect == pytest.approx(3.25, rel=0.08)
    rate = estimate_clustered_rate(table[:, 0] > 0, labels, 0.05)
    assert rate.design_effect == pytest.approx(3.25, rel=0.08)
    assert rate.effective == pytest.approx(40_000 / rate.design_effect, rel=0.01)


def test_copies_of_a_query_add_no_information() -> None:
    """Every query five times over, one cluster each: the interval is that of the queries taken once."""
    table = clustered(generator(3), 200, 1, 0.0, seeds=2)
    found = estimate_clustered_difference(np.repeat(table, 5, axis=0), np.repeat(np.arange(200), 5).tolist(), 0.05)
    once, _ = compute_two_way_interval(table, alpha=0.05)
    assert ends(found) == pytest.approx([once.low, once.high])
    assert found.design_effect == pytest.approx(5 * 999 / 995, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 3), st.integers(0, 2**31))
def test_clusters_of_one_query_give_the_plain_interval(queries: int, seeds: int, seed: int) -> None:
    table = generator(seed).integers(-1, 2, (queries, seeds)).astype(float)
    names = [f"tool {i}" for i in range(queries)]
    found = estimate_clustered_difference(table, names, 0.1)
    plain, _ = compute_two_way_interval(table, alpha=0.1)
    assert ends(found) == pytest.approx([plain.low, plain.high])
    passed = table[:, 0] > 0
    expected = wilson_interval(float(passed.sum()), queries, 0.1)
    assert ends(estimate_clustered_rate(passed, names, 0.1)) == pytest.approx([expected.low, expected.high])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**31))
def test_clustered_rate_interval_is_never_narrower(queries: int, clusters: int, seed: int) -> None:
    rng = generator(seed)
    passed = (rng.random(queries) < rng.random()).astype(float)
    found = estimate_clustered_rate(passed, rng.integers(0, clusters, queries).tolist(), 0.05)
    plain = wilson_interval(float(passed.sum()), queries, 0.05)
    low, high = ends(found)
    assert low <= plain.low + 1e-9 and plain.high <= high + 1e-9 and found.effective <= queries


@pytest.mark.parametrize(("seeds", "correlation"), [(1, 0.3), (2, 0.6)])
def test_clustered_difference_interval_covers_the_truth(seeds: int, correlation: float) -> None:
    rng, studies, size = generator(4), 200, 8
    labels = np.repeat(np.arange(25), size).tolist()
    covered = plain = 0
    for _ in range(studies):
        table = clustered(rng, 25, size, correlation, seeds)
        low, high = ends(estimate_clustered_difference(table, labels, 0.05))
        covered += low <= 0.1 <= high
        alone, _ = compute_two_way_interval(table, alpha=0.05)
        plain += alone.low <= 0.1 <= alone.high
    noise = 3 * math.sqrt(0.95 * 0.05 / studies)
    assert 0.95 - noise < covered / studies < 1
    assert plain / studies < 0.9, "queries taken for independent must be seen to cover too little"


def test_clustered_rate_interval_covers_the_truth() -> None:
    rng, studies = generator(5), 300
    labels = np.repeat(np.arange(30), 10).tolist()
    covered = plain = 0
    for _ in range(studies):
        chances = np.repeat(rng.beta(2, 2, 30), 10)
        passed = (rng.random(300) < chances).astype(float)
        low, high = ends(estimate_clustered_rate(passed, labels, 0.05))
        covered += low <= 0.5 <= high
        alone = wilson_interval(float(passed.sum()), 300, 0.05)
        plain += alone.low <= 0.5 <= alone.high
    assert abs(covered / studies - 0.95) < 0.01 + 3 * math.sqrt(0.95 * 0.05 / studies)
    assert plain / studies < 0.85


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_outcomes_count_clusters_not_queries(value: float) -> None:
    """Twelve clusters of ten that all pass: Wilson's interval on 12, as if a tool passes or fails as a whole."""
    found = estimate_clustered_rate(np.full(120, value), np.repeat(np.arange(12), 10).tolist(), 0.05)
    expected = wilson_interval(12 * value, 12, 0.05)
    assert found.rate == value and found.effective == pytest.approx(12)
    assert ends(found) == pytest.approx([expected.low, expected.high]) and math.isnan(found.design_effect)


def test_zero_difference_has_an_interval_with_width() -> None:
    found = estimate_clustered_difference(np.zeros((120, 2)), np.repeat(np.arange(12), 10).tolist(), 0.05)
    bound = clopper_pearson_interval(0, 12, 0.05).high
    assert ends(found) == pytest.approx([-bound, bound]) and math.isnan(found.design_effect)


def test_one_cluster_or_query_gives_a_wide_interval() -> None:
    for queries in (1, 50):
        found = estimate_clustered_difference(np.ones((queries, 2)), ["tool"] * queries, 0.05)
        assert found.estimate == 1.0 and found.interval.low < -0.9 and found.interval.high == 1.0
        assert math.isnan(found.standard_error)
        rate = estimate_clustered_rate(np.ones(queries), ["tool"] * queries, 0.05)
        assert rate.effective == pytest.approx(1) and rate.interval.low < 0.3


def test_clustered_estimates_drop_and_count_missing_scores() -> None:
    table = np.array([[0.0, 1.0], [np.nan, 1.0], [1.0, 1.0], [np.nan, np.nan]])
    found = estimate_clustered_difference(table, ["a", "b", "a", "c"], 0.05)
    assert (found.n_queries, found.n_clusters, found.n_dropped) == (2, 1, 2) and found.estimate == 0.75
    rate = estimate_clustered_rate(table, ["a", "b", "a", "c"], 0.05)
    assert (rate.n_queries, rate.n_clusters, rate.n_dropped) == (3, 2, 1)
    assert rate.rate == pytest.approx((0.5 + 1 + 1) / 3)
    nothing = estimate_clustered_difference(np.full((3, 2), np.nan), ["a", "b", "b"], 0.05)
    assert math.isnan(nothing.estimate) and all(map(math.isnan, ends(nothing))) and nothing.n_dropped == 3
    unscored = estimate_clustered_rate([np.nan] * 3, ["a", "b", "b"], 0.05)
    assert math.isnan(unscored.rate) and all(map(math.isnan, ends(unscored))) and unscored.n_clusters == 0


@pytest.mark.parametrize("labels", [["a"], ["a", None], ["a", math.nan]], ids=str)
def test_clustered_estimates_refuse_a_query_without_a_cluster(labels: list[object]) -> None:
    with pytest.raises(DataError):
        estimate_clustered_difference(np.zeros((2, 1)), labels, 0.05)
    with pytest.raises(DataError):
        estimate_clustered_rate(np.zeros(2), labels, 0.05)


def test_clustered_rate_refuses_values_out_of_range() -> None:
    with pytest.raises(DataError):
        estimate_clustered_rate([0.0, 1.5], ["a", "b"], 0.05)
