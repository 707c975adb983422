from __future__ import annotations

import math

import pytest

from sweeper.config import UNKNOWN_ESTIMATE, ZERO_ESTIMATE, Estimate, sum_estimates
from sweeper.config.estimate import check_estimate


def test_sum_adds_each_end() -> None:
    total = sum_estimates([Estimate(1, 2, 4), Estimate(10, 20, 40)])
    assert total == Estimate(11, 22, 44)
    assert sum_estimates([]) == ZERO_ESTIMATE


def test_unknown_makes_the_sum_unknown() -> None:
    total = sum_estimates([Estimate(1, 2, 4), UNKNOWN_ESTIMATE])
    assert not total.is_known and math.isnan(total.high)


def test_scale_keeps_the_order_of_the_ends() -> None:
    assert Estimate(1, 2, 4).scale(0.5) == Estimate(0.5, 1, 2)


@pytest.mark.parametrize("ends", [(2, 1, 4), (1, 5, 4), (-1, 2, 3), (1, math.nan, 3)])
def test_range_that_does_not_contain_its_value_is_refused(ends: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError):
        check_estimate(Estimate(*ends))
