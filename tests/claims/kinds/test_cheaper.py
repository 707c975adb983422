"""`cheaper`: cost per solved query."""

from __future__ import annotations

import math

import pytest
from claim_cases import CHEAP, decide_runs, size_runs


@pytest.mark.parametrize(
    ("small", "seconds", "word"),
    [(0.6, 20.0, "supported"), (0.6, 110.0, "refuted"), (0.6, 50.0, "inconclusive"), (0.4, 10.0, "refuted")],
)
def test_cheaper_by_cost(small: float, seconds: float, word: str) -> None:
    runs = size_runs(small, 0.6, 0.6)
    for each in runs:
        if each["model"] == "small":
            each |= {"train_seconds": seconds, "eval_seconds": seconds}
    found = decide_runs(CHEAP, runs)
    ratio = next(c for c in found.comparisons if c.metric.name == "cost_per_solved")
    assert found.label == word
    assert ratio.estimate.estimate == pytest.approx(seconds / 100 * 0.6 / small)
    assert ratio.estimate.low <= ratio.estimate.estimate <= ratio.estimate.high


def test_cost_depends_on_price_hardware_and_lifetime() -> None:
    runs = size_runs(0.6, 0.6, 0.6)
    for each in runs:
        each["gpus"] = 1 if each["model"] == "small" else 4
    unfair = decide_runs(CHEAP, runs)
    assert unfair.label == "inconclusive" and "different hardware (gpus)" in unfair.reason
    priced = CHEAP.model_copy(update={"price_per_hour": {"small": 1.0, "large": 4.0}})
    found = decide_runs(priced, runs)
    assert found.label == "supported" and found.comparisons[0].estimate.estimate == pytest.approx(0.25)
    for each in runs:
        each |= {"gpus": 1, "train_seconds": 900.0 if each["model"] == "large" else 100.0}
    long = CHEAP.model_copy(update={"amortised_over": 60_000_000})
    assert decide_runs(CHEAP, runs).comparisons[0].estimate.estimate == pytest.approx(0.2)
    assert decide_runs(long, runs).comparisons[0].estimate.estimate == pytest.approx(1.0, abs=1e-3)


def test_cost_is_undefined_without_a_solved_query() -> None:
    nothing = decide_runs(CHEAP, size_runs(0.0, 0.6, 0.6))
    assert nothing.label == "refuted", "its quality is not comparable"
    none = decide_runs(CHEAP, size_runs(0.0, 0.0, 0.0))
    assert none.label == "inconclusive" and "solves nothing" in none.reason
    unknown = decide_runs(CHEAP, size_runs(0.6, 0.6, 0.6, eval_seconds=math.nan))
    assert unknown.label == "inconclusive" and "eval_seconds" in unknown.reason
