"""Claims about a loss: n is runs, less is better, and a diverged run has none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy
from claim_cases import decide_runs, make_claim
from claim_tables import seeds, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.probability import compute_probabilities
from sweeper.claims.study_verdicts import decide_claims
from sweeper.claims.tables import StudyEvidence
from sweeper.statistics.independent_seeds import compute_critical_value

BEST = make_claim("best-of", metric="val_loss", axis="model", candidate="middle", margin=0.1)
ONCE = make_claim("no-gain-beyond", metric="val_loss", axis="num_train_epochs", candidate=1, margin=0.1)
LOW = make_claim("reaches", metric="val_loss", reference=1.5, direction="at-most", margin=0.1)


def loss_runs(losses: dict[str, list[float]], **fields: Any) -> list[dict[str, Any]]:
    runs = []
    for model, own in losses.items():
        runs += [
            each | {"val_loss": loss} for each, loss in zip(seeds(len(own), model=model, **fields), own, strict=True)
        ]
    return runs


@pytest.mark.parametrize(
    ("losses", "label"),
    [
        ({"small": [1.4, 1.41, 1.42], "middle": [1.0, 1.01, 1.02], "large": [1.0, 1.02, 1.01]}, "supported"),
        ({"small": [1.0, 1.01, 1.02], "middle": [1.4, 1.41, 1.42], "large": [1.5, 1.52, 1.51]}, "refuted"),
        ({"small": [1.4, 1.41, 1.42], "middle": [1.0, 1.01, 1.02], "large": [0.7, 0.71, 0.72]}, "refuted"),
        ({"small": [1.0, 1.4, 1.2], "middle": [1.0, 1.3, 1.1], "large": [1.0, 1.2, 1.1]}, "inconclusive"),
    ],
)
def test_the_lower_loss_is_the_better_one(losses: dict[str, list[float]], label: str) -> None:
    """The pass rates of all runs are alike, so that nothing but the loss can decide."""
    assert decide_runs(BEST, loss_runs(losses)).label == label


def test_the_interval_is_that_of_independent_seeds_and_counts_runs() -> None:
    small, middle = [1.4, 1.44, 1.42, 1.3], [1.0, 1.01, 1.05]
    verdict = decide_runs(BEST, loss_runs({"small": small, "middle": middle, "large": [1.0, 1.02, 1.01]}))
    comparison = next(c for c in verdict.comparisons if c.second == "small")
    difference = np.mean(middle) - np.mean(small)
    half = compute_critical_value(3, 4, 3.0, 0.05) * math.sqrt(np.var(small, ddof=1) / 4 + np.var(middle, ddof=1) / 3)
    assert comparison.estimate.estimate == pytest.approx(difference)
    assert comparison.estimate.low == pytest.approx(difference - half)
    assert (comparison.estimate.n, comparison.observations, comparison.unit) == (7, "runs", "nats")
    assert comparison.seed_assumption is not None
    without = comparison.seed_assumption.compute_interval_without(0.05)
    assert without.high - without.low > 2 * half


def test_matched_seeds_are_students_t_over_differences() -> None:
    first, third = seeds(4, num_train_epochs=1.0), seeds(4, num_train_epochs=3.0)
    for k, (a, b) in enumerate(zip(first, third, strict=True)):
        a["val_loss"], b["val_loss"] = 1.0 + 0.3 * k, 1.05 + 0.3 * k + 0.01 * (k % 2)
    verdict = decide_runs(ONCE, first + third)
    expected = scipy.stats.ttest_rel([b["val_loss"] for b in third], [a["val_loss"] for a in first])
    interval = expected.confidence_interval()
    assert verdict.label == "supported"
    assert (verdict.interval.low, verdict.interval.high) == pytest.approx((interval.low, interval.high))
    assert verdict.binding_comparison.metric.observations == "pairs of runs"


@pytest.mark.parametrize(("direction", "label"), [("at-most", "supported"), ("at-least", "refuted")])
def test_a_loss_reaches_a_number(direction: str, label: str) -> None:
    claim = LOW.model_copy(update={"direction": direction})
    losses = [1.0, 1.02, 1.04]
    verdict = decide_runs(claim, [each | {"val_loss": loss} for each, loss in zip(seeds(3), losses, strict=True)])
    assert verdict.label == label
    interval = scipy.stats.ttest_1samp(np.array(losses) - 1.5, 0).confidence_interval()
    assert verdict.interval.low == pytest.approx(interval.low)
    assert "the reference 1.5 nats" in verdict.binding_comparison.names[1]


def test_a_diverged_run_has_no_loss() -> None:
    runs = loss_runs({"small": [1.4, 1.41, 1.42], "middle": [1.0, 1.01, 1.02], "large": [1.0, 1.02, 1.01]})
    runs.append(runs[0] | {"seed": 3, "status": "DIVERGED", "val_loss": math.nan})
    verdict = decide_runs(BEST, runs)
    assert verdict.label == "inconclusive"
    assert "1 run diverged and has no validation loss; `estimand: trained-runs`" in verdict.reason
    trained = decide_runs(BEST.model_copy(update={"estimand": "trained-runs"}), runs)
    assert trained.label == "supported"


def test_both_estimands_of_a_loss_are_reported() -> None:
    runs = loss_runs({"small": [1.4, 1.41, 1.42], "middle": [1.0, 1.01, 1.02], "large": [1.0, 1.02, 1.01]})
    runs.append(runs[0] | {"seed": 3, "status": "DIVERGED", "val_loss": math.nan})
    trials, outcomes = tables(runs)
    verdict = decide_claim(BEST, StudyEvidence(trials, outcomes))
    assert verdict.robustness_checks == ()  # another judge changes no loss
    assert verdict.other_estimand.label == "supported"
    assert len(verdict.collapsed.names) == 1


def test_a_finished_run_without_the_loss_is_named() -> None:
    gold = BEST.model_copy(update={"metric": "gold_nll"})
    runs = loss_runs({"small": [1.4, 1.41], "middle": [1.0, 1.01], "large": [1.0, 1.02]})
    for each in runs[1:]:
        each["gold_nll"] = each["val_loss"]
    verdict = decide_runs(gold, runs)
    assert verdict.reason == "Not decidable: 1 of 6 finished runs have no loss on gold answers."


def test_a_loss_needs_no_outcomes() -> None:
    runs = loss_runs({"small": [1.4, 1.41, 1.42], "middle": [1.0, 1.01, 1.02], "large": [1.0, 1.02, 1.01]})
    trials, _ = tables(runs)
    assert decide_claims([BEST], StudyEvidence(trials, pd.DataFrame()))[0].label == "supported"


def test_the_probability_of_better_is_that_of_a_lower_loss() -> None:
    verdict = decide_runs(
        BEST, loss_runs({"small": [1.4, 1.5, 1.3], "middle": [1.0, 1.1, 0.9], "large": [1.0, 1.2, 1.1]})
    )
    by_second = {c.second if not c.is_about_second else c.first: c for c in verdict.comparisons}
    assert compute_probabilities(by_second["small"]).better > 0.8
    assert compute_probabilities(by_second["large"]).better > compute_probabilities(by_second["large"]).worse


def test_the_bracket_of_a_loss_is_around_its_lowest() -> None:
    runs = loss_runs({"small": [1.4, 1.41, 1.42], "middle": [1.0, 1.01, 1.02], "large": [1.3, 1.32, 1.31]})
    bracket = decide_runs(BEST, runs).bracket
    assert bracket.arms == ("middle",) and bracket.is_two_sided


@pytest.mark.slow
@pytest.mark.parametrize("claim", [BEST, LOW], ids=["best-of", "reaches"])
def test_false_verdicts_on_losses_stay_below_their_levels(claim: Any) -> None:
    """400 studies at the limit of the claim; bounds are the levels and two Monte-Carlo errors."""
    rng, labels = np.random.default_rng(5), []
    for _ in range(400):
        if claim is BEST:
            losses = {name: list(rng.normal(1.0, sd, 3)) for name, sd in (("small", 0.1), ("middle", 0.05))}
            losses["large"] = list(rng.normal(0.3, 0.05, 3) + 1.2)
        else:
            losses = {"middle": list(rng.normal(1.6, 0.1, 3))}
        trials, outcomes = tables(loss_runs(losses), queries=6)
        labels.append(decide_claims([claim], StudyEvidence(trials, outcomes.iloc[:0]))[0].label)
    for label, level in (("supported", 0.025), ("refuted", 0.05)):
        assert labels.count(label) / 400 <= level + 2 * math.sqrt(level * (1 - level) / 400), label
