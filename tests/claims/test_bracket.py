"""The bracket of the best arm, on drawn truths with one peak."""

from __future__ import annotations

import math

import numpy as np
import pytest
from claim_cases import SPOT, decide_runs, size_runs
from claim_tables import seeds

from sweeper.claims.bracket import Bracket, find_bracket
from sweeper.statistics.independent_seeds import compute_critical_value
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval


def test_verdicts_of_a_peak_have_a_two_sided_bracket() -> None:
    found = decide_runs(SPOT, size_runs(0.5, 0.8, 0.5)).bracket
    assert found is not None
    assert (found.arms, found.below, found.above, found.n_pairs) == (("middle",), "small", "large", 3)
    rising = decide_runs(SPOT, size_runs(0.5, 0.8, 0.8)).bracket
    assert rising is not None and rising.arms == ("middle", "large") and not rising.is_two_sided
    assert decide_runs(SPOT, size_runs(0.5, 0.8, 0.5, count=1)).bracket is None, "one seed shows no spread"
    assert decide_runs(SPOT, seeds(3, 0.5, model="middle")).bracket is None


def test_undefined_intervals_beat_nothing_and_two_peaks_leave_no_arm() -> None:
    nothing = find_bracket("abc", lambda larger, smaller, alpha: UNDEFINED_INTERVAL, 0.05)
    assert nothing.arms == tuple("abc") and not nothing.has_lower_end and not nothing.has_upper_end
    rates = {"a": 0.9, "b": 0.1, "c": 0.9, "d": 0.1}

    def compute_interval(larger: str, smaller: str, alpha: float) -> Interval:
        return Interval(rates[larger] - rates[smaller], rates[larger] - rates[smaller])

    two_peaks = find_bracket("abcd", compute_interval, 0.05)  # type: ignore[arg-type]
    assert two_peaks.arms == ()


def draw_bracket(rng: np.random.Generator, truth: list[float], sd: float, n_seeds: int) -> Bracket:
    values = [rng.normal(rate, sd, n_seeds) for rate in truth]

    def compute_interval(larger: int, smaller: int, alpha: float) -> Interval:
        gap = float(values[larger].mean() - values[smaller].mean())
        error = math.sqrt((values[larger].var(ddof=1) + values[smaller].var(ddof=1)) / n_seeds)
        half = compute_critical_value(n_seeds, n_seeds, 3.0, alpha) * error
        return Interval(gap - half, gap + half)

    return find_bracket(tuple(range(len(truth))), compute_interval, 0.05)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_bracket_covers_the_best_size_and_is_open_for_a_plateau(n_seeds: int) -> None:
    """400 studies a truth: normal seeds with a standard deviation of 2 points."""
    rng, studies = np.random.default_rng(4), 400
    truths = {
        "peak": [0.4, 0.6, 0.7, 0.62],
        "asymmetric": [0.68, 0.7, 0.55, 0.3],
        "saturating": [0.4, 0.6, 0.68, 0.7],
        "plateau": [0.5, 0.7, 0.7, 0.7],
        "flat": [0.6, 0.6, 0.6, 0.6],
    }
    for name, truth in truths.items():
        found = [draw_bracket(rng, truth, 0.02, n_seeds) for _ in range(studies)]
        best = {k for k, rate in enumerate(truth) if rate == max(truth)}
        covered = sum(bool(best & set(bracket.arms)) for bracket in found) / studies
        assert covered >= 0.99 - 2 * math.sqrt(0.99 * 0.01 / studies), name
        two_sided = sum(bracket.is_two_sided for bracket in found) / studies
        if name in ("saturating", "plateau", "flat"):
            assert two_sided <= 0.02 + 2 * math.sqrt(0.02 * 0.98 / studies), name
        if name == "peak" and n_seeds > 3:
            assert two_sided > 0.5
