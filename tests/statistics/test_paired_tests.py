from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference

from sweeper.errors import DataError
from sweeper.statistics import mcnemar_test, paired_permutation_test


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def vectors(a: int, b: int, c: int, d: int) -> tuple[list[float], list[float]]:
    """Both pass, only the first, only the second, neither."""
    pairs = [(1.0, 1.0)] * a + [(1.0, 0.0)] * b + [(0.0, 1.0)] * c + [(0.0, 0.0)] * d
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@pytest.mark.parametrize(
    ("table", "exact", "mid"),
    [((1, 1, 7, 12), 0.0703, 0.0391), ((59, 6, 16, 80), 0.0525, 0.0347)],
    ids=["airways", "complete response"],
)
def test_mcnemar_matches_fagerland_2013(table: tuple[int, int, int, int], exact: float, mid: float) -> None:
    found = mcnemar_test(*vectors(*table))
    assert (found.b, found.c, found.n, found.n_dropped) == (table[1], table[2], sum(table), 0)
    assert found.p_exact == pytest.approx(exact, abs=5e-5) and found.p_mid == pytest.approx(mid, abs=5e-5)


@settings(max_examples=60, deadline=None)
@given(*[st.integers(0, 30)] * 4)
def test_mcnemar_exact_matches_statsmodels_and_mid_is_smaller(a: int, b: int, c: int, d: int) -> None:
    first, second = vectors(a, b, c, d)
    found, back = mcnemar_test(first, second), mcnemar_test(second, first)
    if a + b + c + d == 0:
        assert math.isnan(found.p_exact) and math.isnan(found.p_mid)
        return
    assert found.p_exact == pytest.approx(reference([[a, b], [c, d]], exact=True).pvalue)
    assert 0 < found.p_mid <= found.p_exact <= 1
    assert (back.b, back.c, back.p_mid) == (c, b, pytest.approx(found.p_mid))
    if b != c:
        assert found.p_exact - found.p_mid == pytest.approx(stats.binom.pmf(b, b + c, 0.5))


def test_mcnemar_drops_and_counts_pairs_without_both_scores() -> None:
    found = mcnemar_test([1, 1, np.nan, 0, np.nan], [0, np.nan, 1, 1, np.nan])
    assert (found.b, found.c, found.n, found.n_dropped) == (1, 1, 2, 3)
    unscored = mcnemar_test([np.nan] * 3, [1, 0, 1])
    assert unscored.n == 0 and unscored.n_dropped == 3 and math.isnan(unscored.p_mid)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_mcnemar_finds_no_difference_between_constant_arms(value: float) -> None:
    found = mcnemar_test([value] * 5, [value] * 5)
    assert (found.p_exact, found.p_mid) == (1.0, 1.0)


@pytest.mark.parametrize(("first", "second"), [([1, 0], [1]), ([0.5], [1]), ([2], [np.nan]), ([[1]], [[0]])], ids=str)
def test_mcnemar_refuses_unaligned_or_non_binary_passes(first: list[float], second: list[float]) -> None:
    with pytest.raises(DataError):
        mcnemar_test(first, second)


@pytest.mark.parametrize("seeds", [1, 3])
def test_permutation_test_enumerates_few_queries(seeds: int) -> None:
    """Against all sign flips in a loop."""
    table = generator(3).integers(-1, 2, (9, seeds)).astype(float)
    sums = table.sum(axis=1)
    flips = [abs(float(np.dot(signs, sums))) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean(np.array(flips) >= abs(sums.sum()) - 1e-9)
    found = paired_permutation_test(table, generator())
    assert found.p == pytest.approx(expected) and found.is_exact and found.n == 9
    assert 0 < expected < 1


def test_permutation_test_with_one_seed_is_the_sign_test() -> None:
    """Without magnitudes, flipping signs is the exact binomial test, zeros apart; by chance with many queries."""
    table = np.array([1.0] * 70 + [-1.0] * 45 + [0.0] * 300)[:, None]
    found = paired_permutation_test(table, generator(), draws=20_000)
    expected = stats.binomtest(70, 115).pvalue
    assert found.p == pytest.approx(expected, abs=4 * math.sqrt(expected / 20_000)) and not found.is_exact
    assert mcnemar_test(table[:, 0] > 0, table[:, 0] < 0).p_exact == pytest.approx(expected)


def test_permutation_test_drops_queries_missing_in_a_seed() -> None:
    table = np.array([[1.0, 1.0], [1.0, np.nan], [-1.0, 0.0], [np.nan, np.nan]])
    found = paired_permutation_test(table, generator())
    assert found == replace(paired_permutation_test(table[[0, 2]], generator()), n_dropped=2) and found.n == 2


def test_permutation_test_without_differences() -> None:
    assert math.isnan(paired_permutation_test(np.full((4, 2), np.nan), generator()).p)
    assert math.isnan(paired_permutation_test(np.zeros((0, 2)), generator()).p)
    assert paired_permutation_test(np.zeros((5, 2)), generator()).p == 1.0
    assert paired_permutation_test([[1.0]], generator()).p == 1.0, "one query decides nothing"
    assert paired_permutation_test(np.ones((6, 1)), generator()).p == pytest.approx(2 / 64)
    with pytest.raises(DataError):
        paired_permutation_test([1.0, 0.0], generator())


def test_permutation_test_keeps_its_level_for_equal_arms() -> None:
    """A query's seeds all alike: flipped one by one instead of together, the test would reject far too often."""
    rng, studies = generator(5), 250
    rejected = 0
    for _ in range(studies):
        table = np.repeat(rng.choice([-1.0, 0.0, 1.0], p=[0.3, 0.4, 0.3], size=(40, 1)), 3, axis=1)
        rejected += paired_permutation_test(table, rng, draws=500).p < 0.1
    assert abs(rejected / studies - 0.09) < 0.01 + 3 * math.sqrt(0.09 * 0.91 / studies)
