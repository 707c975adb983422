"""Runs that the protocols `tuned` and `equal-compute` select."""

from __future__ import annotations

import math
from typing import Any

import pytest
from claim_cases import SPOT, decide_runs
from claim_tables import seeds

TUNED = SPOT.model_copy(
    update={"id": "tuned", "protocol": "tuned", "tuned_axis": "learning_rate", "selection_seeds": [0, 1]}
)


def tuned_runs(count: int = 5) -> list[dict[str, Any]]:
    """Each size has its own best learning rate; at any common one the middle looks best or worst by accident."""
    best = {"small": 0.1, "middle": 0.01, "large": 0.001}
    top = {"small": 0.4, "middle": 0.7, "large": 0.7}
    runs = []
    for model, right in best.items():
        for rate in (0.1, 0.01, 0.001):
            steps = abs(math.log10(rate / right))
            fields = {"model": model, "learning_rate": rate, "val_loss": 1 + steps}
            runs += seeds(count, top[model] - 0.15 * steps, **fields)
    return runs


def test_tuned_compares_each_arm_at_its_own_value_on_fresh_seeds() -> None:
    found = decide_runs(TUNED, tuned_runs())
    assert found.label == "supported" and found.protocol == "tuned"
    assert {c.arm: c.value for c in found.choices} == {"small": 0.1, "middle": 0.01, "large": 0.001}
    assert found.n_seeds == 3, "seeds 0 and 1 chose"
    assert [c.estimate.estimate for c in found.comparisons] == pytest.approx([0.3, 0.0], abs=0.01)
    assert "edge of the values tried" in found.reason and "Tuned on seeds 0, 1" in found.reason


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"selection_seeds": [0, 1], "confirmation_seeds": [1, 2]}, "both select and confirm"),
        ({"selection_seeds": [0, 1, 2, 3, 4]}, "seeds that did not select"),
        ({"selection_seeds": [7]}, "no run of the selection seeds"),
    ],
)
def test_tuned_refuses_overlapping_seeds(change: dict[str, Any], says: str) -> None:
    found = decide_runs(TUNED.model_copy(update=change), tuned_runs())
    assert found.label == "inconclusive" and says in found.reason
    assert {reading.verdict for reading in found.other_interpretations} == {"inconclusive"}


def test_tuned_is_inconclusive_where_incomplete_or_unfair() -> None:
    runs = tuned_runs()
    lost = [each | {"status": "FAILED"} if k == 0 else each for k, each in enumerate(runs)]
    assert "selection runs have no result" in decide_runs(TUNED, lost).reason
    fewer = [each for each in runs if (each["model"], each["learning_rate"]) != ("small", 0.001)]
    assert "different numbers of values" in decide_runs(TUNED, fewer).reason
    blind = [each | {"val_loss": math.nan} for each in runs]
    assert "no validation loss" in decide_runs(TUNED, blind).reason
    wild = [each | {"status": "DIVERGED"} if each["learning_rate"] == 0.1 else each for each in runs]
    assert {c.arm: c.value for c in decide_runs(TUNED, wild).choices}["small"] == 0.01
    pruned = [
        each | {"status": "PRUNED"}
        if (each["model"], each["learning_rate"], each["seed"]) == ("large", 0.001, 3)
        else each
        for each in runs
    ]
    assert "PRUNED" in decide_runs(TUNED, pruned).reason
    # A run that was neither chosen nor chose is nobody's denominator.
    beside = [
        each | {"status": "PRUNED"}
        if (each["model"], each["learning_rate"], each["seed"]) == ("large", 0.1, 3)
        else each
        for each in runs
    ]
    assert decide_runs(TUNED, beside).label == "supported"


EQUAL = SPOT.model_copy(update={"id": "equal", "protocol": "equal-compute"})


def compute_runs(off: float = 1.0) -> list[dict[str, Any]]:
    runs = []
    for model, size in (("small", 1), ("middle", 2), ("large", 4)):
        for epochs in (1.0, 2.0, 4.0):
            flops = 1e9 * size * epochs * (off if model == "large" else 1)
            rate = {"small": 0.5, "middle": 0.8, "large": 0.6}[model] if size * epochs == 4 else 0.2
            runs += seeds(3, rate, model=model, num_train_epochs=epochs, train_flops=flops)
    return runs


def test_equal_compute_pairs_runs_of_one_budget() -> None:
    found = decide_runs(EQUAL, compute_runs(1.04))
    assert found.label == "supported"
    assert {c.arm: c.value for c in found.choices} == {"small": 4.0, "middle": 2.0, "large": 1.0}
    assert decide_runs(EQUAL, compute_runs(1.2)).label == "inconclusive"
    assert "within 5 %" in decide_runs(EQUAL, compute_runs(1.2)).reason
    given = decide_runs(EQUAL.model_copy(update={"train_flops": 2e9}), compute_runs())
    assert "large" in given.reason and given.label == "inconclusive", "the large one cannot train so little"
    blind = [each | {"train_flops": None} for each in compute_runs()]
    assert "FLOPs are known" in decide_runs(EQUAL, blind).reason
