from __future__ import annotations

import math

import numpy as np

from sweeper.statistics.fitted_curve import Curve, CurveFit, Optimum

CURVE = Curve(np.array([1e6, 1e7]), np.array([0.2, 0.4]), np.array([0.1, 0.3]), np.array([0.3, math.nan]))


def test_curve_is_written_as_lists_with_its_undefined_ends() -> None:
    document = CURVE.to_json()
    assert document["value"] == [0.2, 0.4]
    assert document["high"][0] == 0.3 and math.isnan(document["high"][1])  # type: ignore[index]


def test_fit_without_an_optimum_has_no_such_key() -> None:
    fit = CurveFit("power law", {"b": 0.3}, 0.9, -3.0, 6, 3, 1, 0, CURVE, "three sizes")
    assert "optimum" not in fit.to_json()
    assert (fit.to_json()["dropped"], fit.to_json()["parameters"]) == (1, {"b": 0.3})


def test_optimum_is_undefined_unless_it_is_found() -> None:
    document = Optimum().to_json()
    assert math.isnan(document["size"])  # type: ignore[arg-type]
    assert document["inside"] is False
