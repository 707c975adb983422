"""Two arms with unrelated seeds, against simulated truth from another generator than the product's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from numpy.typing import NDArray

from sweeper.statistics.independent_seeds import (
    compute_critical_value,
    contradicts_ratio,
    estimate_independent_variance,
)
from sweeper.statistics.paired import estimate_two_way_variance

STUDIES, QUERIES = 600, 300


def draw_arm(
    rng: np.random.Generator, difficulty: NDArray[np.float64], shift: float, seed_sd: float, seeds: int
) -> NDArray[np.float64]:
    """Passes (studies, queries, seeds) of a crossed probit model: query, arm x query, run, and query x run."""
    latent = difficulty + rng.normal(0, 0.3, difficulty.shape)
    runs = rng.normal(shift, seed_sd, (STUDIES, 1, seeds))
    noise = rng.normal(0, 1, (STUDIES, QUERIES, seeds))
    return (latent[..., None] + runs + noise > 0).astype(float)


def compute_true_rate(shift: float, seed_sd: float) -> float:
    """The rate over new queries and new runs: all normal terms added."""
    return float(scipy.special.ndtr(shift / math.sqrt(1 + 1 + 0.3**2 + seed_sd**2)))


@pytest.mark.parametrize(("seeds", "value"), [(2, 5.42), (3, 3.27), (4, 2.76), (6, 2.40)])
def test_critical_values_at_a_ratio_of_three(seeds: int, value: float) -> None:
    assert compute_critical_value(seeds, seeds, 3.0, 0.05) == pytest.approx(value, abs=0.006)


def test_critical_value_lies_between_the_pooled_t_and_that_of_one_arm() -> None:
    for first, second in ((2, 2), (3, 3), (2, 6)):
        values = [compute_critical_value(first, second, ratio, 0.05) for ratio in (1.0, 3.0, 10.0, math.inf)]
        assert values == sorted(values)
        assert values[-1] == pytest.approx(-scipy.special.stdtrit(min(first, second) - 1, 0.025))
    assert compute_critical_value(4, 4, 1.0, 0.05) == pytest.approx(-scipy.special.stdtrit(6, 0.025), rel=1e-4)


@pytest.mark.parametrize("ratio", [1.0, 3.0])
@pytest.mark.parametrize(("first", "second"), [(2, 2), (3, 2), (4, 4)])
def test_normal_differences_are_covered_up_to_the_assumed_ratio(first: int, second: int, ratio: float) -> None:
    rng, draws = np.random.default_rng(3), 100_000
    x, y = rng.normal(0, 1, (draws, first)), rng.normal(0, ratio, (draws, second))
    error = np.sqrt(x.var(axis=1, ddof=1) / first + y.var(axis=1, ddof=1) / second)
    covered = (
        np.abs(x.mean(axis=1) - y.mean(axis=1)) <= compute_critical_value(first, second, 3.0, 0.05) * error
    ).mean()
    assert covered > 0.95 - 4 * math.sqrt(0.95 * 0.05 / draws)


@pytest.mark.parametrize(("seeds", "narrower"), [(2, 0.60), (3, 0.87), (4, 0.95), (6, 0.99)])
def test_intervals_cover_and_are_narrower_than_of_matched_seeds(seeds: int, narrower: float) -> None:
    """600 studies of a crossed probit model, seed deviations with a ratio of 2.5; a Monte-Carlo bound of 3 errors."""
    rng = np.random.default_rng(seeds)
    difficulty = rng.normal(0, 1, (STUDIES, QUERIES))
    shifts, sds = (0.2, 0.0), (0.1, 0.25)
    first, second = (draw_arm(rng, difficulty, shift, sd, seeds) for shift, sd in zip(shifts, sds, strict=True))
    truth = compute_true_rate(shifts[0], sds[0]) - compute_true_rate(shifts[1], sds[1])
    half = estimate_independent_variance(first, second, 3.0).compute_half_width(0.05)
    difference = first.mean(axis=(1, 2)) - second.mean(axis=(1, 2))
    covered = (np.abs(difference - truth) <= half).mean()
    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / STUDIES)
    matched = estimate_two_way_variance(first - second).compute_half_width(0.05)
    assert np.median(half) < narrower * np.median(matched)


def test_critical_values_exist_at_every_level() -> None:
    for alpha in (1e-13, 1e-6, 0.5, 1 - 1e-9):
        values = [compute_critical_value(seeds, seeds, 3.0, alpha) for seeds in (2, 5, 50)]
        assert all(math.isfinite(value) and value >= 0 for value in values)


def test_thousands_of_seeds_have_nearly_the_normal_critical_value() -> None:
    assert compute_critical_value(5000, 5000, 3.0, 0.05) == pytest.approx(1.96, abs=0.002)


def test_seeds_of_the_arms_need_not_be_as_many() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (50, 4)), rng.integers(0, 2, (50, 2))
    found = estimate_independent_variance(first, second)
    assert found.n_seeds == (4, 2)
    assert float(found.compute_half_width(0.05)) > 0
    swapped = estimate_independent_variance(second, first)
    assert float(swapped.compute_half_width(0.05)) == pytest.approx(float(found.compute_half_width(0.05)), rel=1e-6)


def test_no_variance_over_seeds_leaves_that_over_queries() -> None:
    passed = np.repeat(np.arange(40)[:, None] % 3 == 0, 3, axis=1).astype(float)
    found = estimate_independent_variance(passed, 1 - passed)
    query = (2 * passed[:, 0] - 1).var(ddof=1) / 40
    assert float(found.compute_half_width(0.05)) == pytest.approx(-scipy.special.stdtrit(39, 0.025) * math.sqrt(query))
    assert math.isnan(float(found.observed_ratio))
    assert float(estimate_independent_variance(passed[:1], passed[:1]).compute_half_width(0.05)) == 0


def test_only_ratios_beyond_the_assumed_one_contradict_it() -> None:
    assert not contradicts_ratio(2.9, (20, 20), 3.0)
    assert not contradicts_ratio(20.0, (2, 2), 3.0), "with two seeds each, ratios vary that much by chance"
    assert contradicts_ratio(20.0, (6, 6), 3.0)
    assert not contradicts_ratio(math.nan, (6, 6), 3.0)
    assert not contradicts_ratio(1e9, (6, 6), math.inf)
    rng = np.random.default_rng(1)
    sds = np.sort([rng.normal(0, scale, (4000, 3)).std(axis=1, ddof=1) for scale in (1, 3)], axis=0)
    rejected = np.mean([contradicts_ratio(ratio, (3, 3), 3.0) for ratio in sds[1] / sds[0]])
    assert rejected < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)
