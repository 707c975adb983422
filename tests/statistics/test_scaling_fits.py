from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from statsmodels.tools.eval_measures import aicc

from sweeper.errors import DataError
from sweeper.statistics import fit_power_law, fit_quadratic

SIZES = np.array([125e6, 350e6, 1.3e9, 2.7e9, 6.7e9])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def quadratic_truth(sizes: np.ndarray) -> np.ndarray:
    """Best at a billion."""
    return 0.7 - 0.15 * (np.log10(sizes) - 9) ** 2


def law_truth(sizes: np.ndarray) -> np.ndarray:
    return 0.8 - 300 * sizes**-0.35


def runs(truth: Any, seeds: int, noise: float, rng: np.random.Generator, sizes: np.ndarray = SIZES) -> tuple:
    x = np.repeat(sizes, seeds)
    return x, truth(x) + rng.normal(0, noise, len(x))


def test_fit_quadratic_is_ordinary_least_squares() -> None:
    x, y = runs(quadratic_truth, 3, 0.02, generator())
    keep = np.arange(len(x)) != 4  # sizes with different numbers of runs
    x, y = x[keep], y[keep]
    found = fit_quadratic(x, y, rng=generator(), draws=50)
    ols = sm.OLS(y, np.vander(np.log10(x) - 9, 3)).fit()
    c2, c1, _ = ols.params
    assert found.parameters["c2"] == pytest.approx(c2)
    assert found.optimum.size == pytest.approx(10 ** (9 - c1 / (2 * c2)))
    assert found.r2 == pytest.approx(ols.rsquared)
    constant = len(x) * (math.log(2 * math.pi) + 1)
    assert found.aicc == pytest.approx(aicc(ols.llf, len(x), 4) - constant)
    assert (found.n_runs, found.n_sizes, found.residual_df, found.caveat) == (14, 5, 2, "")


def test_fit_quadratic_parameters_reproduce_the_curve() -> None:
    x = np.repeat(SIZES, 2)
    y = quadratic_truth(x) + np.tile([-1e-4, 1e-4], len(SIZES))
    found = fit_quadratic(x, y, rng=generator(), curve_sizes=SIZES)
    c0, c1, c2 = found.parameters.values()
    logs = np.log10(SIZES)
    assert found.curve.value == pytest.approx(list(c0 + c1 * logs + c2 * logs**2))
    assert found.curve.value == pytest.approx(list(quadratic_truth(SIZES)))
    assert found.optimum.size == pytest.approx(1e9) and found.optimum.value == pytest.approx(0.7)
    assert found.optimum.is_inside


def test_fit_power_law_recovers_its_curve_and_is_no_worse_than_scipy() -> None:
    x, y = runs(law_truth, 1, 0.0, generator())
    exact = fit_power_law(x, y, rng=generator())
    assert exact.parameters == pytest.approx({"c": 0.8, "a": -300, "b": 0.35}, rel=1e-3)
    assert exact.r2 == pytest.approx(1)
    x, y = runs(law_truth, 3, 0.02, generator(1))

    def law(size: np.ndarray, c: float, a: float, b: float) -> np.ndarray:
        return c + a * (size / 1e9) ** -b

    best, _ = optimize.curve_fit(law, x, y, p0=(0.8, -0.2, 0.35), bounds=([0, -np.inf, 0.01], [1, np.inf, 5]))
    found = fit_power_law(x, y, rng=generator(), curve_sizes=x, draws=20)
    ours = float(((y - np.array(found.curve.value)) ** 2).sum())
    assert ours <= float(((y - law(x, *best)) ** 2).sum()) * (1 + 1e-6)
    assert found.parameters["b"] == pytest.approx(best[2], rel=0.01)


def test_fit_power_law_of_a_loss_falls_to_its_asymptote() -> None:
    x = np.repeat(SIZES, 2)
    y = 1.7 + 400 * x**-0.34
    found = fit_power_law(x, y, rng=generator(), asymptote=(0.0, math.inf), curve_sizes=[1e12], draws=50)
    assert found.parameters == pytest.approx({"c": 1.7, "a": 400, "b": 0.34}, rel=1e-3)
    assert found.curve.value[0] == pytest.approx(1.7 + 400 * 1e12**-0.34, rel=1e-4)


def test_fit_power_law_keeps_and_reports_its_bounds() -> None:
    """A rate that rises as a straight line in log size knows no asymptote: it goes to its bound."""
    y = 0.1 * np.log10(SIZES) - 0.5
    found = fit_power_law(SIZES, y, rng=generator())
    assert found.parameters["c"] == 1.0 and "asymptote is at its bound, 1" in found.caveat
    free = fit_power_law(SIZES, y, rng=generator(), asymptote=(-1e6, 1e6))
    assert free.parameters["b"] == pytest.approx(0.01, rel=1e-3) and "exponent is at its bound" in free.caveat


@pytest.mark.parametrize("fit", [fit_power_law, fit_quadratic])
@pytest.mark.parametrize("sizes", [0, 1, 2, 3])
def test_nothing_is_fitted_without_residual_degrees_of_freedom(fit: Any, sizes: int) -> None:
    x, y = runs(law_truth, 5, 0.01, generator(), SIZES[:sizes])
    found = fit(x, y, rng=generator())
    assert found.residual_df == sizes - 3 and found.caveat.startswith(f"Not fitted: {sizes} size")
    assert all(map(math.isnan, [*found.parameters.values(), found.r2, found.aicc]))
    assert all(map(math.isnan, found.curve.value))
    if fit is fit_quadratic:
        assert (
            math.isnan(found.optimum.size)
            and math.isnan(found.optimum.interval.low)
            and math.isnan(found.optimum.interval.high)
        )


@pytest.mark.parametrize("fit", [fit_power_law, fit_quadratic])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_values_give_a_flat_line_without_r2_or_optimum(fit: Any, value: float) -> None:
    found = fit(np.repeat(SIZES, 2), np.full(10, value), rng=generator())
    assert found.curve.value == pytest.approx([value] * 50)
    assert math.isnan(found.r2) and math.isnan(found.aicc) and all(map(math.isnan, found.curve.low))
    if fit is fit_quadratic:
        assert math.isnan(found.optimum.size)
    else:
        assert math.isnan(found.parameters["b"]) and found.parameters["a"] == 0


@pytest.mark.parametrize("fit", [fit_power_law, fit_quadratic])
def test_fits_leave_out_and_count_nan_runs(fit: Any) -> None:
    x, y = runs(quadratic_truth, 2, 0.02, generator())
    holes = fit(np.append(x, [1e9, np.nan]), np.append(y, [np.nan, 0.5]), rng=generator(), draws=50)
    assert holes.n_dropped == 2 and holes.n_runs == 10
    assert holes.parameters == fit(x, y, rng=generator(), draws=50).parameters
    nothing = fit(x, np.full(len(x), np.nan), rng=generator())
    assert nothing.n_sizes == 0 and nothing.n_dropped == 10 and math.isnan(nothing.r2)


def test_optimum_is_undefined_for_the_opposite_curvature() -> None:
    x, y = runs(quadratic_truth, 3, 0.001, generator())
    wrong = fit_quadratic(x, y, rng=generator(), best="min", draws=100).optimum
    assert math.isnan(wrong.size) and wrong.share == 0 and not wrong.is_inside
    loss = fit_quadratic(x, 1 - y, rng=generator(), best="min", draws=100).optimum
    assert loss.size == pytest.approx(fit_quadratic(x, y, rng=generator(), draws=100).optimum.size)
    assert loss.share == 1


def test_lack_of_fit_is_the_f_test_against_free_means() -> None:
    x, y = runs(law_truth, 3, 0.02, generator())
    found = fit_quadratic(x, y, rng=generator(), draws=50)
    means = sm.OLS(y, (x[:, None] == SIZES).astype(float)).fit()
    curve = sm.OLS(y, np.vander(np.log10(x) - 9, 3)).fit()
    assert found.lack_of_fit_p == pytest.approx(means.compare_f_test(curve)[1])
    assert math.isnan(fit_quadratic(SIZES, law_truth(SIZES), rng=generator()).lack_of_fit_p)


def test_a_curve_that_its_runs_contradict_has_no_optimum() -> None:
    x, y = runs(lambda sizes: np.where(sizes < 3e8, 0.2, 0.8), 4, 0.01, generator())
    found = fit_quadratic(x, y, rng=generator(), draws=50)
    assert found.lack_of_fit_p < 1e-3 and "contradict this curve" in found.caveat
    assert found.optimum is not None and math.isnan(found.optimum.size)


def test_optimum_beyond_the_sizes_is_called_an_extrapolation() -> None:
    small = np.repeat(SIZES[:4] / 100, 2)
    found = fit_quadratic(small, quadratic_truth(small) + np.tile([-1e-4, 1e-4], 4), rng=generator())
    assert not found.optimum.is_inside and "extrapolation" in found.caveat


def test_uncertain_optimum_has_an_unbounded_interval() -> None:
    x, y = runs(lambda sizes: 0.5 + 0.1 * (np.log10(sizes) - 9), 3, 0.05, generator(2))
    found = fit_quadratic(x, y, rng=generator()).optimum
    assert 0 < found.share < 1 and (math.isnan(found.interval.low) or math.isnan(found.interval.high))


@pytest.mark.parametrize("fit", [fit_power_law, fit_quadratic])
def test_one_run_per_size_has_no_interval(fit: Any) -> None:
    found = fit(SIZES, law_truth(SIZES), rng=generator())
    assert all(map(math.isnan, found.curve.low)) and "5 of 5 sizes have one run" in found.caveat
    json.dumps(found.to_json())


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 6), st.integers(1, 4), st.integers(0, 2**31))
def test_curve_interval_contains_the_curve(sizes: int, seeds: int, seed: int) -> None:
    rng = generator(seed)
    x, y = np.repeat(np.geomspace(1e7, 1e10, sizes), seeds), rng.integers(0, 6, sizes * seeds) / 5
    for fit in (fit_power_law, fit_quadratic):
        found = fit(x, y, rng=rng, draws=30)
        value, low, high = (getattr(found.curve, name) for name in ("value", "low", "high"))
        assert np.isfinite(value).all()
        if seeds > 1 and len(set(y)) > 1:
            assert (low <= value + 1e-9).all() and (value <= high + 1e-9).all()
        if not math.isnan(found.r2):
            assert -1e-6 <= found.r2 <= 1 + 1e-9
        if fit is fit_power_law:
            assert 0 <= found.parameters["c"] <= 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_quadratic_intervals_cover_the_truth(seeds: int) -> None:
    """Curve at the middle size and place of the optimum."""
    rng, studies = generator(7), 200
    curve = optimum = 0
    for _ in range(studies):
        x, y = runs(quadratic_truth, seeds, 0.02, rng)
        found = fit_quadratic(x, y, rng=rng, curve_sizes=[1e9], draws=300)
        curve += found.curve.low[0] <= 0.7 <= found.curve.high[0]
        low, high = found.optimum.interval.low, found.optimum.interval.high
        optimum += (math.isnan(low) or low <= 1e9) and (math.isnan(high) or high >= 1e9)
    noise = 3 * math.sqrt(0.95 * 0.05 / studies)
    for covered in (curve, optimum):
        assert 0.95 - 0.01 - noise < covered / studies < 1


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3])
def test_power_law_band_covers_the_truth_at_every_size(seeds: int) -> None:
    """The smallest size as well, where percentiles of a bootstrap covered 80 to 90 %."""
    rng, studies, sizes = generator(8), 150, SIZES[:4]
    covered = np.zeros(len(sizes))
    for _ in range(studies):
        x, y = runs(law_truth, seeds, 0.02, rng, sizes)
        curve = fit_power_law(x, y, rng=rng, curve_sizes=sizes, draws=150).curve
        covered += (curve.low <= law_truth(sizes)) & (law_truth(sizes) <= curve.high)
    assert (covered / studies > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies)).all()


def test_fits_refuse_invalid_sizes() -> None:
    for sizes, values in (([1.0, 2.0], [1.0]), ([0.0], [1.0]), ([-1.0], [1.0]), ([1.0], [math.inf])):
        with pytest.raises(DataError):
            fit_quadratic(sizes, values, rng=generator())
    with pytest.raises(DataError):
        fit_power_law(SIZES, SIZES, rng=generator(), asymptote=(1.0, 0.0))
    with pytest.raises(DataError):
        fit_power_law(SIZES, SIZES, rng=generator(), curve_sizes=[0.0])
