"""The difference of two samples of queries, over the same runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sweeper.claims.two_samples import estimate_two_sample_difference


def test_two_sample_difference_has_the_error_of_independent_samples() -> None:
    """One seed's worth of queries, no seed effect: the standard error is that of two independent samples."""
    rng = np.random.default_rng(4)
    matrix = pd.DataFrame({"a": rng.integers(0, 2, 400).astype(float)}).assign(b=lambda t: t["a"])
    first = np.arange(400) < 150
    found = estimate_two_sample_difference(matrix, [(0, "a"), (1, "b")], first, ~first).estimate_at_level(0.05)
    x, y = matrix["a"][first], matrix["a"][~first]
    half = 1.96 * math.sqrt(x.var() / len(x) + y.var() / len(y))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)


@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_two_sample_difference_covers_the_truth_with_few_seeds(drift: float) -> None:
    """Three seeds, each better on one side by chance; what it adds to both sides alike is no spread of the gap."""
    rng, studies = np.random.default_rng(6), 150
    first = np.arange(60) < 20
    covered = 0
    for _ in range(studies):
        seeds_gap, common = rng.normal(0, drift, (1, 3)), rng.normal(0, 0.1, (1, 3))
        values = 0.5 + rng.normal(0, 0.05, (60, 1)) + rng.normal(0, 0.05, (60, 3)) + common + seeds_gap * first[:, None]
        found = estimate_two_sample_difference(
            pd.DataFrame(values, columns=[*"abc"]), list(enumerate("abc")), first, ~first
        ).estimate_at_level(0.05)
        covered += found.low <= 0 <= found.high
    assert covered / studies > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies)
