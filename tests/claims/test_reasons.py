from __future__ import annotations

import math

import pytest
from claim_cases import ONCE, SPOT, decide_runs, size_runs
from claim_tables import run, seeds

from sweeper.claims.reasons import find_binding_comparison


def test_missing_arm_is_not_decidable() -> None:
    verdict = decide_runs(SPOT, seeds(3, 0.5, model="small"))
    assert (verdict.label, verdict.reason) == (
        "inconclusive",
        "Not decidable: middle is not among the planned trials.",
    )


def test_unfinished_runs_are_named_and_counted() -> None:
    runs = size_runs(0.2, 0.8, 0.5)
    runs[0] |= {"status": "FAILED"}
    verdict = decide_runs(SPOT, runs)
    assert verdict.label == "inconclusive"
    assert verdict.reason.startswith("Planned runs without a result: 1 of 9 (small, 1 epoch, seed 0: FAILED")


def test_only_the_first_unfinished_runs_are_named() -> None:
    runs = [each | {"status": "PENDING"} for each in size_runs(0.2, 0.8, 0.5)]
    reason = decide_runs(SPOT, runs).reason
    assert "9 of 9" in reason and reason.count("PENDING") == 4 and "…" in reason


def test_one_seed_gives_no_verdict() -> None:
    rates = {"small": 0.1, "middle": 0.9, "large": 0.9}
    verdict = decide_runs(SPOT, [run(rate, model=model) for model, rate in rates.items()])
    assert verdict.label == "inconclusive"
    assert verdict.reason.startswith("One seed:")


def test_diverged_runs_are_mentioned() -> None:
    runs = size_runs(0.2, 0.8, 0.5)
    runs[0] |= {"status": "DIVERGED"}
    assert decide_runs(SPOT, runs).reason.endswith("Diverged runs count as passing nothing (here 1).")


@pytest.mark.parametrize(
    ("longer", "label", "start"),
    [(0.9, "refuted", "Refuted: "), (0.5, "supported", "The comparison is established.")],
)
def test_reason_follows_the_label(longer: float, label: str, start: str) -> None:
    runs = [*seeds(4, 0.5), *seeds(4, longer, num_train_epochs=3.0)]
    verdict = decide_runs(ONCE.model_copy(update={"overfitting": False}), runs)
    assert verdict.label == label
    assert verdict.reason.startswith(start)


def test_binding_comparison_is_the_most_violated_or_the_closest() -> None:
    verdict = decide_runs(SPOT, size_runs(0.2, 0.8, 0.75))
    deciding = [c for c in verdict.comparisons if c.is_deciding]
    binding = find_binding_comparison(deciding, "inconclusive")
    assert binding is not None
    assert binding.support_margin == min(c.support_margin for c in deciding)
    refuted = decide_runs(SPOT, size_runs(0.9, 0.5, 0.7))
    worst = find_binding_comparison(refuted.comparisons, "refuted")
    assert worst is not None and worst.refute_margin == max(
        c.refute_margin for c in refuted.comparisons if c.is_refuted
    )
    assert find_binding_comparison([], "supported") is None
    assert not math.isnan(worst.refute_margin)
