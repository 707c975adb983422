"""Resampling against closed forms and SciPy's own bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sweeper.errors import DataError
from sweeper.statistics import bootstrap_clusters, bootstrap_two_way


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table(queries: int = 80, seeds: int = 5, seed_sd: float = 0.1) -> np.ndarray:
    draw = rng(1)
    return (
        draw.normal(0, 0.4, (queries, 1)) + draw.normal(0, seed_sd, (1, seeds)) + draw.normal(0, 0.3, (queries, seeds))
    )


def test_bootstrap_two_way_variance_is_margins_plus_interaction() -> None:
    values = table()
    n, s = values.shape
    centred = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    inner = (centred**2).sum() / ((n - 1) * (s - 1)) / (n * s)
    expected = values.mean(axis=1).var(ddof=1) / n + values.mean(axis=0).var(ddof=1) / s + inner
    interval, error = bootstrap_two_way(values, rng=rng(), draws=20_000)
    assert error**2 == pytest.approx(expected, rel=0.05)
    assert interval.low < values.mean() < interval.high


def test_bootstrap_two_way_with_one_seed_resamples_queries() -> None:
    values = table(seeds=1)
    interval, error = bootstrap_two_way(values, rng=rng(), draws=8000)
    known = stats.bootstrap((values[:, 0],), np.mean, method="percentile", n_resamples=8000, rng=rng(2))
    assert error == pytest.approx(known.standard_error, rel=0.05)
    assert (interval.low, interval.high) == pytest.approx(tuple(known.confidence_interval), abs=0.15 * error * 2)


def test_bootstrap_clusters_of_one_query_equals_two_way() -> None:
    values = table()
    assert bootstrap_clusters(values, range(len(values)), rng=rng()) == bootstrap_two_way(values, rng=rng())


def test_bootstrap_clusters_count_equal_queries_of_a_tool_once() -> None:
    tools = table(queries=20, seeds=1)
    values = np.repeat(tools, 6, axis=0)
    by_tool = bootstrap_clusters(values, np.repeat(np.arange(20), 6).tolist(), rng=rng(), draws=8000)[1]
    assert by_tool == pytest.approx(bootstrap_two_way(tools, rng=rng(), draws=8000)[1], rel=0.05)
    assert by_tool > 2 * bootstrap_two_way(values, rng=rng())[1]


@pytest.mark.parametrize("values", [np.zeros((0, 2)), np.array([[1.0, np.nan]]), np.zeros(3)])
def test_bootstrap_refuses_other_shapes(values: np.ndarray) -> None:
    with pytest.raises(DataError):
        bootstrap_two_way(values, rng=rng())
    with pytest.raises(DataError):
        bootstrap_clusters(np.ones((2, 1)), ["a"], rng=rng())
