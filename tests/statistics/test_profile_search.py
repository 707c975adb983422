"""The search for two parameters, against scipy's."""

import numpy as np
import pytest
import scipy

from sweeper.statistics.profile_search import search_two_parameters


def test_minima_are_those_of_scipy_in_every_sample():
    rng = np.random.default_rng(0)
    centers, tilt = rng.uniform(0.2, 0.8, (20, 2)), rng.uniform(-0.9, 0.9, 20)

    def compute_loss(points):
        x, y = np.moveaxis(points - centers[:, None, :], -1, 0)
        return x**2 + y**2 + tilt[:, None] * x * y + 0.3 * x**4

    found = search_two_parameters(compute_loss, 20, np.zeros(2), np.ones(2), (14, 14))
    for k, best in enumerate(found):
        own = scipy.optimize.minimize(
            lambda p, k=k: float(compute_loss(np.broadcast_to(p, (20, 1, 2)))[k, 0]), [0.5, 0.5], tol=1e-12
        )
        assert best == pytest.approx(own.x, abs=1e-3)


def test_a_minimum_outside_is_found_at_the_bound():
    found = search_two_parameters(lambda p: ((p - 2) ** 2).sum(axis=-1), 1, np.zeros(2), np.ones(2), (5, 5))
    assert found.tolist() == [[1.0, 1.0]]


def test_a_parameter_with_one_value_stays():
    found = search_two_parameters(lambda p: ((p - 0.7) ** 2).sum(axis=-1), 2, np.zeros(2), np.ones(2), (9, 1))
    assert found == pytest.approx(np.array([[0.7, 0.0]] * 2), abs=1e-3)
