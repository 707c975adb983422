from __future__ import annotations

import math
from typing import Any

import pytest

from sweeper.claims.comparison import Comparison
from sweeper.errors import DataError
from sweeper.report.formatting import format_percentage_points
from sweeper.report.text import format_comparison
from sweeper.statistics import EffectEstimate, Exclusions


def test_verdict_sentence_has_estimate_interval_and_n(report: dict[str, Any]) -> None:
    spot, once = report["claims"]
    assert (spot["verdict"], once["verdict"]) == ("supported", "refuted")
    for claim in report["claims"]:
        low, high = claim["interval"]
        assert low <= claim["estimate"] <= high
        for number in (
            format_percentage_points(low),
            format_percentage_points(high),
            f"{abs(100 * claim['estimate']):.1f}",
            f"n = {claim['n']:,}",
        ):
            assert number in claim["sentence"]
    assert once["n"] == 120 * 3 * 3


@pytest.mark.parametrize("missing", ["estimate", "low", "high", "n_queries"])
def test_format_comparison_refuses_a_missing_number(missing: str) -> None:
    numbers: dict[str, Any] = {"estimate": 0.1, "low": 0.0, "high": 0.2, "n_queries": 9}

    def component() -> Comparison:
        found = EffectEstimate(**numbers, alpha=0.05, n_seeds=2, n_runs=2, exclusions=Exclusions(), method="")
        return Comparison(
            test="superior",
            axis="model",
            first="large",
            second="small",
            margin=0.05,
            estimate=found,
            is_refuted=False,
        )

    assert "10.0 points above" in format_comparison(component())
    numbers[missing] = 0 if missing == "n_queries" else math.nan
    with pytest.raises(DataError, match="sentence"):
        format_comparison(component())


def test_looks_on_other_seeds_are_named() -> None:
    from sweeper.report.text import format_unregistered_looks

    assert format_unregistered_looks((), (), 0.05) == ""
    assert format_unregistered_looks((2, 3), (), 0.05).startswith("Looked at 2 times, on 2 and 3 seeds, without")
    both = format_unregistered_looks((2, 3), [(3, 2)], 0.05)
    assert "and on other seeds than the first of the sweep (3, 2): the error level of 5 % does not hold" in both
