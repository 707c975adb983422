"""Decision bounds of every test, and hypotheses in words."""

from __future__ import annotations

from typing import get_args

import pytest

from sweeper.claims.comparison import (
    ComparisonTest,
    Hypothesis,
    Metric,
    compute_refute_margin,
    compute_support_margin,
    describe_hypothesis,
    make_decision_bounds,
)
from sweeper.statistics import Interval


def hypothesis(test: ComparisonTest, **fields: object) -> Hypothesis:
    base: dict[str, object] = {"axis": "model", "first": "a", "second": "b", "margin": 0.05}
    return Hypothesis(test=test, **(base | fields))  # type: ignore[arg-type]


INTERVALS = [
    Interval(-0.2, -0.1),
    Interval(-0.02, -0.01),
    Interval(0.01, 0.02),
    Interval(0.1, 0.2),
    Interval(-0.2, 0.2),
]


@pytest.mark.parametrize("test", get_args(ComparisonTest))
def test_only_reduces_can_be_established_and_contradicted_at_once(test: ComparisonTest) -> None:
    """An effect above 0 and below the margin: `result` is then `contradicted`."""
    bounds = make_decision_bounds(test, 0.05)
    both = [i for i in INTERVALS if compute_support_margin(bounds, i) > 0 and compute_refute_margin(bounds, i) > 0]
    assert both == ([Interval(0.01, 0.02)] if test == "reduces" else [])


@pytest.mark.parametrize("test", get_args(ComparisonTest))
def test_goal_and_contrary_are_described_for_every_test(test: ComparisonTest) -> None:
    goal, contrary = (describe_hypothesis(hypothesis(test), is_contradicted=flag) for flag in (False, True))
    assert goal.startswith("a ") and goal.endswith(" b") and goal != contrary


def test_metric_can_describe_its_own_hypothesis() -> None:
    agreement = Metric("agreement", "agreement", unit="coefficient", hypothesis=("above {bound}", "below {bound}"))
    assert describe_hypothesis(hypothesis("exceeds", metric=agreement, margin=0.6)) == "above 0.6"


def test_unknown_test_is_an_error() -> None:
    with pytest.raises(KeyError):
        make_decision_bounds("better", 0.05)  # type: ignore[arg-type]
