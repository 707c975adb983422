"""Interval estimates over runs against exact tests."""

from __future__ import annotations

import numpy as np

from sweeper.claims import run_intervals


def test_share_difference_has_the_sign_of_mcnemars_exact_test() -> None:
    from scipy import stats

    for up, down, n in [(6, 0, 10), (5, 0, 10), (8, 1, 12), (9, 1, 12), (0, 0, 5)]:
        first = np.asarray([1.0] * up + [0.0] * (n - up))
        second = np.asarray([0.0] * up + [1.0] * down + [0.0] * (n - up - down))
        found = run_intervals.estimate_share_difference(first, second, list(range(n)), 0).estimate_at_level(0.05)
        exact = stats.binomtest(up, up + down).pvalue if up + down else 1.0
        assert (found.low > 0) == (exact < 0.05)
        assert found.low <= (up - down) / n <= found.high
