from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sweeper.errors import DataError
from sweeper.statistics import holm_step_down

P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=12)


def test_holm_matches_a_worked_example() -> None:
    """0.005 x 4, 0.01 x 3, 0.03 x 2 and 0.04 raised to what stands before it."""
    found = holm_step_down([0.01, 0.04, 0.03, 0.005], 0.05)
    assert found.adjusted.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert found.rejected.tolist() == [True, False, False, True] and found.n == 4


def test_holm_matches_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 7, 30):
        p_values = rng.uniform(size=size).round(1) ** 3
        found, (rejected, adjusted, *_) = holm_step_down(p_values, 0.05), multipletests(p_values, 0.05, method="holm")
        assert found.adjusted == pytest.approx(adjusted) and found.rejected.tolist() == rejected.tolist()


def test_holm_ignores_untested_claims() -> None:
    found = holm_step_down([0.01, math.nan, 0.04], 0.05)
    assert found.adjusted[[0, 2]].tolist() == pytest.approx([0.02, 0.04]) and math.isnan(found.adjusted[1])
    assert found.rejected.tolist() == [True, False, True] and found.n == 2


@pytest.mark.parametrize("p_values", [[], [math.nan, math.nan]], ids=str)
def test_holm_without_tests_rejects_nothing(p_values: list[float]) -> None:
    found = holm_step_down(p_values, 0.05)
    assert found.n == 0 and not found.rejected.any() and len(found.adjusted) == len(p_values)
    assert np.isnan(found.adjusted).all()


@settings(max_examples=60, deadline=None)
@given(P_VALUES, st.floats(0.001, 0.2), st.integers(0, 2**31))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float], alpha: float, seed: int) -> None:
    found = holm_step_down(p_values, alpha)
    tested = ~np.isnan(p_values) if p_values else np.zeros(0, dtype=bool)
    raw, adjusted = np.array(p_values)[tested], found.adjusted[tested]
    assert (raw <= adjusted + 1e-12).all() and (adjusted <= np.minimum(1, raw * max(1, len(raw))) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(raw)]) >= -1e-12).all(), "a smaller p-value is never adjusted above a larger"
    assert not found.rejected[~tested].any()
    order = np.random.default_rng(seed).permutation(len(p_values)).tolist()
    again = holm_step_down([p_values[i] for i in order], alpha)
    assert np.allclose(again.adjusted, found.adjusted[order], equal_nan=True)


def test_holm_controls_the_family_wise_error_of_dependent_tests() -> None:
    """Five true hypotheses of which pairs share data: rejected at all in no more than alpha of reports."""
    rng, reports = np.random.default_rng(0), 800
    scores = math.sqrt(0.5) * (rng.standard_normal((reports, 5)) + rng.standard_normal((reports, 1)))
    p_values = 2 * stats.norm.sf(np.abs(scores))
    errors = sum(bool(holm_step_down(row, 0.1).rejected.any()) for row in p_values)
    uncorrected = float((p_values < 0.1).any(axis=1).mean())
    assert 0.03 < errors / reports < 0.1 + 3 * math.sqrt(0.09 / reports) and uncorrected > 0.2


@pytest.mark.parametrize("p_values", [[1.2], [-0.1], [[0.1, 0.2]]], ids=str)
def test_holm_refuses_values_that_are_no_p_values(p_values: list[float]) -> None:
    with pytest.raises(DataError):
        holm_step_down(p_values, 0.05)
