"""Collapsed runs: which they are, the other estimand, and levels with collapse in simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from claim_cases import REACHES, SPOT, decide_runs, make_claim, size_runs
from claim_tables import run, tables

from sweeper.claims.collapse import find_collapsed_runs, find_tolerated_rate
from sweeper.claims.decide import decide_claim
from sweeper.claims.tables import StudyEvidence
from sweeper.config.claim import CollapseRule

RULE = CollapseRule(above=1.5)


def test_a_run_collapses_by_the_rule_or_by_divergence() -> None:
    losses = [1.0, 2.0, math.nan, 1.0]
    statuses = ["COMPLETE", "COMPLETE", "COMPLETE", "FAILED"]
    rows, _ = tables([run(seed=k, val_loss=losses[k], status=statuses[k]) for k in range(4)])
    rows.loc[len(rows)] = rows.loc[0].to_dict() | {"fingerprint": "gone", "status": "DIVERGED", "val_loss": math.nan}
    found = find_collapsed_runs(REACHES.model_copy(update={"collapse": RULE}), rows)
    assert (found.names, found.unknown, found.n_runs) == ({"run001", "gone"}, {"run002"}, 4)
    assert find_collapsed_runs(REACHES, rows).names == {"gone"}


def test_upper_bound_is_clopper_and_pearsons() -> None:
    rows, _ = tables([run(seed=k) for k in range(12)])
    assert find_collapsed_runs(REACHES, rows).upper_bound == pytest.approx(1 - 0.05 ** (1 / 12))


def test_both_estimands_are_always_reported() -> None:
    runs = size_runs(0.5, 0.8, 0.79, count=4)
    runs[4] |= {"rate": 0.02, "val_loss": 3.0}
    assert runs[4]["model"] == "middle"
    about_all, about_trained = (
        decide_runs(SPOT.model_copy(update={"collapse": RULE, "estimand": estimand}), runs, with_robustness_checks=True)
        for estimand in ("mean", "trained-runs")
    )
    assert about_all.label == "inconclusive" and about_trained.label == "supported"
    other = about_all.other_estimand
    assert other is not None and (other.estimand, other.label) == ("trained-runs", "supported")
    reverse = about_trained.other_estimand
    assert reverse is not None and (reverse.estimand, reverse.label) == ("mean", "inconclusive")
    assert about_trained.collapsed is not None and len(about_trained.collapsed.names) == 1
    assert math.isnan(about_trained.tolerated_collapse_rate) and about_all.tolerated_collapse_rate >= 0


def test_a_rule_that_cannot_be_applied_decides_nothing() -> None:
    runs = size_runs(0.5, 0.8, 0.79, count=4)
    runs[0]["val_loss"] = math.nan
    found = decide_runs(SPOT.model_copy(update={"collapse": RULE, "estimand": "trained-runs"}), runs)
    assert found.label == "inconclusive" and "1 finished runs lack the loss" in found.reason


def test_an_arm_that_collapsed_whole_is_undefined_among_trained_runs() -> None:
    runs = [each | ({"status": "DIVERGED"} if each["model"] == "large" else {}) for each in size_runs(0.5, 0.8, 0.7)]
    found = decide_runs(SPOT.model_copy(update={"estimand": "trained-runs"}), runs)
    assert found.label == "inconclusive"


@pytest.mark.parametrize("field", [{"estimand": "trained-runs"}, {"collapse": {"above": 1.0}}])
def test_kinds_without_pass_rates_of_runs_refuse_an_estimand(field: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="does not take"):
        make_claim("judge-independent", metric="agreement", reference=0.6, **field)


@pytest.mark.parametrize("sd_ratio", [3.0, None])
def test_coverage_of_the_mean_holds_up_to_the_tolerated_rate(sd_ratio: float | None) -> None:
    """Another generator than the product's: uniform seeds, 4,000 studies, a Monte-Carlo bound of 3 errors."""
    rng, seeds, studies = np.random.default_rng(5), 4, 4000
    arms = [np.array([0.6, 0.7, 0.65, 0.75]), np.array([0.62, 0.58, 0.7, 0.66])]
    tolerated = find_tolerated_rate(arms, 0.05, sd_ratio)
    wide = find_tolerated_rate([arm + np.array([-0.2, 0.2, -0.2, 0.2]) for arm in arms], 0.05, sd_ratio)
    assert 0 < tolerated < 0.2 and wide >= tolerated
    assert math.isnan(find_tolerated_rate([arms[0][:1], arms[1]], 0.05, sd_ratio))
    values = [arm.mean() + rng.uniform(-1, 1, (studies, seeds)) * arm.std(ddof=1) * math.sqrt(3) for arm in arms]
    values[0] = np.where(rng.random((studies, seeds)) < tolerated, 0.0, values[0])
    truth = (1 - tolerated) * arms[0].mean() - arms[1].mean()
    from sweeper.claims.collapse import _compute_intervals

    difference, half = _compute_intervals(values, 0.05, sd_ratio)
    covered = (np.abs(difference - truth) <= half).mean()
    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies) - 0.005


def draw_study(
    rng: np.random.Generator, rates: dict[str, float], collapse: dict[str, float], seeds: int
) -> StudyEvidence:
    """A study whose runs collapse, from a crossed probit model; collapsed runs have a loss of 3 and pass nothing."""
    from scipy.special import ndtr, ndtri

    queries = 100
    difficulty = rng.normal(0, 1, queries)
    trials, frames = [], []
    for size, (model, rate) in enumerate(rates.items()):
        for seed in range(seeds):
            gone = rng.random() < collapse.get(model, 0.0)
            name = f"{model}{seed}"
            trials.append(run(model=model, seed=seed, val_loss=3.0 if gone else 1.0) | {"fingerprint": name})
            shift = ndtri(rate) * math.sqrt(2) + rng.normal(0, 0.15)
            passed = rng.random(queries) < ndtr(shift + difficulty)
            frames.append(
                pd.DataFrame({"subset": "G1_tool", "query_id": np.arange(queries).astype(str)}).assign(
                    fingerprint=name, judge="drawn", vote=0, passed=0.0 if gone else passed.astype(float)
                )
            )
            trials[-1]["parameters"] = size
    return StudyEvidence(pd.DataFrame(trials), pd.concat(frames, ignore_index=True), ("model",))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("collapse", "rates", "label"),
    [
        ({"middle": 0.1}, {"small": 0.6, "middle": 0.6, "large": 0.5}, "supported"),
        ({"small": 0.1, "middle": 0.1, "large": 0.1}, {"small": 0.6, "middle": 0.6, "large": 0.5}, "supported"),
        ({"small": 0.1, "middle": 0.1, "large": 0.1}, {"small": 0.5, "middle": 0.6, "large": 0.65}, "refuted"),
    ],
)
def test_levels_hold_among_trained_runs_whichever_arm_collapses(
    collapse: dict[str, float], rates: dict[str, float], label: str
) -> None:
    """At the boundary (equal arms; a larger arm better by the margin): 250 studies of four seeds."""
    rng, studies = np.random.default_rng(11), 250
    claim = SPOT.model_copy(update={"estimand": "trained-runs", "collapse": RULE})
    found = [
        decide_claim(claim, draw_study(rng, rates, collapse, 4), with_robustness_checks=False).label
        for _ in range(studies)
    ]
    bound = 0.025 if label == "supported" else 0.05
    assert found.count(label) / studies <= bound + 2 * math.sqrt(bound * (1 - bound) / studies)
