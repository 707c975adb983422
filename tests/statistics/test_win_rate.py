from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeper.errors import DataError
from sweeper.statistics import compute_win_rate, wilson_interval
from sweeper.statistics.win_rate import WinRate

OUTCOMES = st.lists(st.sampled_from(["a", "b", "tie", None]), max_size=40)


def outcomes(wins: int, losses: int, ties: int, unscored: int = 0) -> list[Any]:
    return ["a"] * wins + ["b"] * losses + ["tie"] * ties + [None] * unscored


def ends(found: WinRate) -> list[float]:
    return [found.interval.low, found.interval.high]


def test_win_rate_matches_hand_computed_values() -> None:
    """Five wins, one loss: 2 * (6 + 1) / 2^6 of the fair coin's outcomes are as extreme."""
    found = compute_win_rate(outcomes(5, 1, 2, unscored=3))
    assert (found.n, found.unscored, found.wins, found.losses, found.ties) == (8, 3, 5, 1, 2)
    assert found.value == 6 / 8 and found.p_value == pytest.approx(14 / 64)
    assert found.interval.low < 0.75 < found.interval.high


def test_win_rate_interval_without_ties_is_wilsons() -> None:
    for alpha in (0.05, 0.2):
        expected = wilson_interval(13, 20, alpha)
        assert ends(compute_win_rate(outcomes(13, 7, 0), alpha)) == pytest.approx([expected.low, expected.high])


def test_ties_narrow_the_win_rate_interval_but_keep_a_width() -> None:
    half_ties = ends(compute_win_rate(outcomes(10, 10, 20)))
    assert np.diff(half_ties) < np.diff(ends(compute_win_rate(outcomes(20, 20, 0))))
    low, high = ends(compute_win_rate(outcomes(0, 0, 20)))
    assert 0.3 < low < 0.45 and high == pytest.approx(1 - low)


def test_win_rate_without_outcomes_is_undefined() -> None:
    for none in ([], [None, None], [math.nan]):
        found = compute_win_rate(none)
        assert found.n == 0 and found.unscored == len(none)
        assert all(math.isnan(number) for number in [found.value, *ends(found), found.p_value])
    ties = compute_win_rate(["tie"])
    assert ties.value == 0.5 and math.isnan(ties.p_value)


def test_win_rate_refuses_other_outcomes() -> None:
    with pytest.raises(DataError, match="draw"):
        compute_win_rate(["a", "draw"])  # type: ignore[list-item]


@given(OUTCOMES, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_win_rate_ignores_order_and_unscored_and_mirrors_sides(given_outcomes: list[Any], random: Any) -> None:
    found = compute_win_rate(given_outcomes)
    shuffled = [*given_outcomes, None]
    random.shuffle(shuffled)
    assert repr(compute_win_rate(shuffled)) == repr(replace(found, unscored=found.unscored + 1))
    mirrored = compute_win_rate([{"a": "b", "b": "a"}.get(outcome, outcome) for outcome in given_outcomes])
    if found.n:
        assert 0 <= found.interval.low <= found.value <= found.interval.high <= 1
        assert mirrored.value == pytest.approx(1 - found.value)
        assert ends(mirrored) == pytest.approx([1 - end for end in reversed(ends(found))], abs=1e-9)
        assert mirrored.p_value == pytest.approx(found.p_value, nan_ok=True)


@pytest.mark.slow
def test_win_rate_interval_covers_the_truth() -> None:
    """Exactly: over all 496 possible tables of 30 outcomes, weighted by their probability."""
    n = 30
    tables = [(wins, n - wins - ties, ties) for wins in range(n + 1) for ties in range(n + 1 - wins)]
    intervals = np.array([ends(compute_win_rate(outcomes(*counts))) for counts in tables])
    for win, tie in [(0.5, 0.0), (0.3, 0.4), (0.6, 0.2), (0.1, 0.8), (0.2, 0.1), (0.85, 0.1)]:
        truth = win + tie / 2
        weights = stats.multinomial.pmf(tables, n, [win, 1 - win - tie, tie])
        covered = weights[(intervals[:, 0] <= truth) & (truth <= intervals[:, 1])].sum()
        assert 0.94 < covered < (0.985 if tie < 0.5 else 0.997), (win, tie, covered)


def test_win_rate_sign_test_keeps_its_level() -> None:
    p_values = np.array([compute_win_rate(outcomes(wins, 25 - wins, 4)).p_value for wins in range(26)])
    level = stats.binom.pmf(np.arange(26), 25, 0.5)[p_values <= 0.05].sum()
    assert 0.01 < level <= 0.05
