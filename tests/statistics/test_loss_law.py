"""The law of the loss: exact recovery, its bounds, and robustness against a run that ended badly."""

import math

import numpy as np
import pytest
import scipy

from sweeper.statistics.loss_law import _solve_nonnegative, choose_forms, fit_loss_law, group_runs

SIZES, TOKENS = (axis.ravel() for axis in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 2e8, 4e8]))


def additive_loss(n, d):
    return 0.5 + 200 / n**0.4 + 900 / d**0.35


def test_noiseless_runs_give_back_every_parameter():
    cells = group_runs(SIZES, TOKENS, np.log(additive_loss(SIZES, TOKENS)))
    law = fit_loss_law(cells, "additive", rng=np.random.default_rng(0))
    expected = {"E": 0.5, "A": 200, "alpha": 0.4, "B": 900, "beta": 0.35}
    assert law.parameters == pytest.approx(expected, rel=2e-3)
    assert law.coefficients.shape[0] == 1  # no run repeats, so nothing is drawn
    assert math.isnan(law.df)


def test_the_multiplicative_form_is_told_from_the_additive_one():
    means = np.log(0.3 + 4000 / (SIZES**0.25 * TOKENS**0.2))
    cells = group_runs(SIZES, TOKENS, means)
    laws = {form: fit_loss_law(cells, form, rng=np.random.default_rng(0)) for form in choose_forms(cells)}
    errors = {
        form: max(abs(np.log(law.predict(n, d)[0]) - mean) for n, d, mean in zip(SIZES, TOKENS, means, strict=True))
        for form, law in laws.items()
    }
    assert errors["multiplicative"] < errors["additive"] / 5
    assert laws["multiplicative"].parameters["alpha"] == pytest.approx(0.25, rel=0.02)


def test_the_best_size_is_that_of_a_search_over_sizes():
    cells = group_runs(SIZES, TOKENS, np.log(additive_loss(SIZES, TOKENS)))
    law = fit_loss_law(cells, "additive", rng=np.random.default_rng(0))
    product = 1.6e7 * 2e8
    found = scipy.optimize.minimize_scalar(
        lambda log_n: additive_loss(math.exp(log_n), product / math.exp(log_n)), bounds=(10, 25), method="bounded"
    )
    assert law.find_best_size(product)[0] == pytest.approx(math.exp(found.x), rel=0.01)
    with pytest.raises(ValueError, match="no best size"):
        fit_loss_law(cells, "multiplicative", rng=np.random.default_rng(0)).find_best_size(product)


def test_a_loss_that_rises_with_size_gives_a_flat_law():
    """Coefficients are 0 or more: a rise is no law of this form, and is not extrapolated as one."""
    sizes = np.repeat([1e6, 2e6, 4e6, 8e6], 2)
    cells = group_runs(sizes, np.full(8, 1e8), np.log(1 + 0.05 * np.log2(sizes / 1e6)))
    law = fit_loss_law(cells, "size", rng=np.random.default_rng(0))
    assert law.parameters["A"] == 0
    assert law.predict(1.6e7, 1e8)[0] == pytest.approx(1.075, abs=0.01)


def test_one_cell_that_ended_badly_moves_the_fit_little():
    rng = np.random.default_rng(3)
    n, d = np.repeat(SIZES, 3), np.repeat(TOKENS, 3)
    logs = np.log(additive_loss(n, d)) + rng.normal(0, 0.003, len(n))
    clean = fit_loss_law(group_runs(n, d, logs), "additive", rng=np.random.default_rng(0), draws=2)
    cell = (n == SIZES[5]) & (d == TOKENS[5])
    bad = fit_loss_law(group_runs(n, d, logs + 0.2 * cell), "additive", rng=np.random.default_rng(0), draws=2)
    moved = abs(bad.predict(1.28e8, 4e8)[0] / clean.predict(1.28e8, 4e8)[0] - 1)
    squares = scipy.optimize.least_squares(
        lambda p: (
            np.log(np.exp(p[0]) + np.exp(p[1]) * n ** -np.exp(p[2]) + np.exp(p[3]) * d ** -np.exp(p[4]))
            - logs
            - 0.2 * cell
        ),
        [math.log(0.5), math.log(200), math.log(0.4), math.log(900), math.log(0.35)],
        x_scale="jac",
    ).x
    plain = np.exp(squares[0]) + np.exp(squares[1]) * 1.28e8 ** -np.exp(squares[2])
    plain += np.exp(squares[3]) * 4e8 ** -np.exp(squares[4])
    assert moved < 0.02
    assert moved < abs(plain / clean.predict(1.28e8, 4e8)[0] - 1)


def test_amounts_of_tokens_that_cannot_be_told_apart_leave_the_form_without_them():
    two = TOKENS < 4e8
    assert choose_forms(group_runs(SIZES[two], TOKENS[two], np.ones(two.sum()))) == ("size",)
    assert choose_forms(group_runs(SIZES, TOKENS, np.ones(12))) == ("additive", "multiplicative")


def test_runs_without_a_number_are_left_out():
    cells = group_runs(np.array([1.0, 1.0, 2.0]), np.ones(3), np.array([0.5, math.nan, 0.25]))
    assert cells.counts.tolist() == [1, 1]


def test_nonnegative_least_squares_is_scipys():
    rng = np.random.default_rng(0)
    columns, values = rng.normal(size=(50, 6, 3)) + 0.3, rng.normal(size=(50, 6))
    weights = rng.uniform(0.5, 2, (50, 6))
    solved = _solve_nonnegative(columns, values, weights)
    for k in range(50):
        root = np.sqrt(weights[k])
        expected, _ = scipy.optimize.nnls(columns[k] * root[:, None], values[k] * root)
        assert solved[k] == pytest.approx(expected, abs=1e-6)
