"""The sigmoid from loss to pass rate, and where none can be read."""

import numpy as np
import pytest
import scipy

from sweeper.statistics.loss_link import find_link_problem, fit_loss_link

LOSSES = np.array([1.5, 1.3, 1.15, 1.0, 0.9])


def sigmoid(loss, ceiling=0.85, slope=9.0, midpoint=1.15):
    return ceiling * scipy.special.expit(slope * (midpoint - loss))


def test_noiseless_rates_give_back_the_sigmoid():
    link = fit_loss_link(LOSSES[None], sigmoid(LOSSES)[None], np.full(5, 3))
    assert link.parameters == pytest.approx({"ceiling": 0.85, "slope": 9.0, "midpoint": 1.15}, rel=2e-3)
    assert link.predict(np.array([0.7]))[0] == pytest.approx(sigmoid(0.7), abs=1e-3)


def test_the_fit_is_as_good_as_that_of_scipy():
    rng = np.random.default_rng(1)
    rates = np.clip(sigmoid(LOSSES) + rng.normal(0, 0.03, 5), 0, 1)
    link = fit_loss_link(LOSSES[None], rates[None], np.ones(5))
    other = scipy.optimize.least_squares(
        lambda p: sigmoid(LOSSES, *p) - rates, [0.8, 8, 1.1], bounds=([0, 0.8, 0.2], [1, 100, 2.2])
    )
    own = float(((link.predict(np.broadcast_to(1.0, 1)) - sigmoid(1.0, *other.x)) ** 2).sum())
    squares = sum(
        (float(link.predict(np.array([loss]))[0]) - rate) ** 2 for loss, rate in zip(LOSSES, rates, strict=True)
    )
    assert squares <= 2 * other.cost * 1.02
    assert own < 0.01**2


@pytest.mark.parametrize(
    ("rates", "problem"),
    [
        ([0.0, 0.01, 0.02, 0.05, 0.09], "below this transition"),
        ([0.92, 0.95, 0.96, 0.97, 0.98], "above this transition"),
        ([0.0, 0.0, 0.01, 0.02, 0.3], "and there are 1"),
        ([0.01, 0.02, 0.03, 0.95, 0.99], "and there are 0"),
        ([0.0, 0.01, 0.2, 0.5, 0.9], ""),
    ],
)
def test_a_sigmoid_needs_two_arms_in_its_transition(rates, problem):
    found = find_link_problem(LOSSES, np.array(rates))
    assert (problem in found) if problem else (found == "")


def test_arms_of_one_loss_have_no_sigmoid():
    assert "the same loss" in find_link_problem(np.ones(3), np.array([0.2, 0.4, 0.6]))
