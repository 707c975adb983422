"""Registered looks: levels, runs and comparisons of each, and error levels over all of them in simulated studies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from claim_cases import REACHES, SPOT, decide_runs, make_claim, size_runs
from claim_tables import run, seeds, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.looks import LookProgress, advance_looks, apply_look, list_looks, select_look_rows, start_looks
from sweeper.claims.study_verdicts import decide_at_looks
from sweeper.claims.tables import StudyEvidence
from sweeper.config import Claim

LOOKS: dict[str, Any] = {"looks": [2, 4], "spend": [0.02, 0.03]}


def test_looks_have_their_seeds_and_levels() -> None:
    first, second = list_looks(REACHES.model_copy(update=LOOKS))
    assert (first.number, first.n_looks, first.n_seeds, first.level, first.alpha) == (1, 2, 2, 0.02, 0.05)
    assert (second.number, second.n_seeds, second.level) == (2, 4, 0.03)
    assert list_looks(REACHES) == [] and start_looks(REACHES) is None


def test_p_values_are_divided_by_the_share_of_the_look() -> None:
    claim = REACHES.model_copy(update=LOOKS)
    once = decide_runs(claim, seeds(4, [0.74, 0.75, 0.76, 0.77]))
    progress = LookProgress(list_looks(claim)[1])
    looked = decide_runs(claim, seeds(4, [0.74, 0.75, 0.76, 0.77]), progress=progress)
    assert looked.p == pytest.approx(min(1, once.p * 0.05 / 0.03)) and looked.alpha == once.alpha == 0.05
    assert looked.interval.low < once.interval.low and looked.look == progress.look


def test_a_look_keeps_the_smallest_p_value_of_those_before() -> None:
    claim = REACHES.model_copy(update=LOOKS)
    progress = LookProgress(list_looks(claim)[1], p=0.011, p_refuted=0.9)
    looked = decide_runs(claim, seeds(4, [0.5, 0.9, 0.5, 0.9]), progress=progress)
    assert looked.label == "inconclusive" and looked.p == 0.011 and looked.p_refuted <= 0.9


def test_an_arm_that_is_settled_needs_no_further_seeds() -> None:
    """The candidate clearly beats the smaller model; only the larger one stays open."""
    claim = SPOT.model_copy(update=LOOKS)
    runs = size_runs([0.2, 0.21, 0.2, 0.2], [0.6, 0.61, 0.62, 0.6], [0.58, 0.66, 0.6, 0.55], count=4)
    trials, outcomes = tables(runs)
    study = StudyEvidence(trials, outcomes, ("model",))
    progress = start_looks(claim)
    assert progress is not None
    first = decide_claim(claim, study, with_robustness_checks=False, progress=progress)
    assert first.label == "inconclusive" and first.n_seeds == 2
    following = advance_looks(claim, progress, first.comparisons, (first.p, first.p_refuted), 1)
    assert following is not None and set(following.open_arms) == {"middle", "large"}
    assert [each.comparison.second for each in following.settled] == ["small"]
    needed = select_look_rows(claim, trials, following)
    assert needed.groupby("model").size().to_dict() == {"small": 2, "middle": 4, "large": 4}
    # Without the results of the seeds that it does not need, the second look says the same.
    there = trials["fingerprint"].isin(needed["fingerprint"])
    fewer = StudyEvidence(
        trials.assign(status=trials["status"].where(there, "PENDING")),
        outcomes[outcomes["fingerprint"].isin(set(needed["fingerprint"]))],
        ("model",),
    )
    whole, part = decide_at_looks(claim, study), decide_at_looks(claim, fewer)
    assert whole.look == part.look == following.look
    assert (whole.label, whole.p, whole.interval) == (part.label, part.p, part.interval)
    carried = next(each for each in part.comparisons if each.second == "small")
    assert carried.estimate.n_seeds == 2 and carried == first.comparisons[0]
    assert apply_look(first.comparisons, following)[0] is following.settled[0].comparison


def test_the_first_look_that_decides_counts() -> None:
    """What later seeds show does not change it: the level would not hold otherwise."""
    claim = REACHES.model_copy(update=LOOKS)
    trials, outcomes = tables(seeds(4, [0.9, 0.9, 0.1, 0.1]))
    found = decide_at_looks(claim, StudyEvidence(trials, outcomes))
    assert found.label == "supported" and found.look is not None and found.look.number == 1
    assert decide_claim(claim, StudyEvidence(trials, outcomes), with_robustness_checks=False).label == "inconclusive"


def test_an_open_claim_waits_for_all_runs_of_its_next_look() -> None:
    claim = REACHES.model_copy(update=LOOKS)
    runs = [*seeds(3, [0.6, 0.8, 0.9]), run(status="PENDING", seed=3)]
    found = decide_at_looks(claim, StudyEvidence(*tables(runs)))
    assert found.label == "inconclusive" and found.look is not None and found.look.number == 1 and found.n_seeds == 2


def test_nothing_is_decided_before_the_first_look_is_complete() -> None:
    claim = REACHES.model_copy(update=LOOKS)
    found = decide_at_looks(claim, StudyEvidence(*tables([run(0.9), run(status="PENDING", seed=1)])))
    assert found.label == "inconclusive" and len(found.incomplete_runs) == 1 and math.isnan(found.p)


@pytest.mark.parametrize(("count", "number", "seen"), [(1, 1, 0), (3, 1, 2), (4, 2, 4)])
def test_a_look_needs_as_many_planned_seeds(count: int, number: int, seen: int) -> None:
    """One look's level is never spent on the seeds of another: the study may be extended later."""
    claim = REACHES.model_copy(update=LOOKS)
    found = decide_at_looks(claim, StudyEvidence(*tables(seeds(count, [0.6, 0.8, 0.9, 0.7][:count]))))
    assert found.label == "inconclusive" and found.look is not None and found.look.number == number
    if seen:
        assert found.n_seeds == seen
    else:
        assert "the first look is on 2 seeds, and 1 are planned" in found.reason and math.isnan(found.p)


class Studies:
    """Studies of normal run effects and independent queries: another generator than the product's probit model."""

    def __init__(self, rates: dict[str, float], seed_sd: float, *, n_seeds: int, n_queries: int = 300) -> None:
        self.rates, self.seed_sd, self.n_queries = rates, seed_sd, n_queries
        self.trials, _ = tables([{**each, "model": model} for model in rates for each in seeds(n_seeds)])

    def draw(self, rng: np.random.Generator) -> StudyEvidence:
        shape = len(self.trials), self.n_queries
        effects = self.trials["model"].map(self.rates).to_numpy() + rng.normal(0, self.seed_sd, shape[0])
        passed = rng.random(shape[::-1]) < np.clip(effects, 0, 1)
        index = pd.MultiIndex.from_product([["G1"], range(self.n_queries)], names=["subset", "query_id"])
        matrix = pd.DataFrame(passed.astype(float), index, list(self.trials["fingerprint"]))
        return StudyEvidence(self.trials, pd.DataFrame(), ("model",), matrix)

    def decide(self, claim: Claim, studies: int) -> tuple[dict[str, float], float]:
        """Share of each verdict, and the mean number of seeds."""
        rng = np.random.default_rng(21)
        found = [decide_at_looks(claim, self.draw(rng)) for _ in range(studies)]
        labels = [verdict.label for verdict in found]
        shares = {label: labels.count(label) / studies for label in ("supported", "refuted")}
        return shares, float(np.mean([verdict.look.n_seeds for verdict in found if verdict.look]))


def bound(level: float, studies: int) -> float:
    return level + 2 * math.sqrt(level * (1 - level) / studies)


TEN_POINTS = make_claim("best-of", axis="model", candidate="middle", looks=[3, 6, 10], text="It is the best.")


@pytest.mark.slow
def test_a_gap_of_ten_points_takes_few_seeds() -> None:
    """At a standard deviation of 5 points: at most 8.5 seeds on average, with at least 95 % power (120 studies)."""
    studies = Studies({"small": 0.5, "middle": 0.6, "large": 0.5}, 0.05, n_seeds=10)
    shares, expected_seeds = studies.decide(TEN_POINTS, 120)
    assert shares["supported"] >= 0.95 and shares["refuted"] == 0 and expected_seeds <= 8.5


@pytest.mark.slow
def test_equal_arms_are_seldom_told_apart_at_any_look() -> None:
    """A candidate that is no better is supported in at most 2.5 % (200 studies, all looks together)."""
    studies = Studies({"small": 0.5, "middle": 0.5, "large": 0.2}, 0.05, n_seeds=10)
    shares, _ = studies.decide(TEN_POINTS, 200)
    assert shares["supported"] <= bound(0.025, 200) and shares["refuted"] <= bound(0.05, 200)


@pytest.mark.slow
def test_a_true_claim_at_its_margin_is_seldom_refuted_at_any_look() -> None:
    """Looking after each of 2 to 8 seeds at equal levels: refuted in at most 5 % of 200 studies, supported in 2.5 %."""
    claim = make_claim(
        "reaches", reference=0.65, direction="at-least", looks=[2, 3, 4, 6, 8], spend=[0.01] * 5, where={"model": "one"}
    )
    shares, _ = Studies({"one": 0.6}, 0.05, n_seeds=8).decide(claim, 200)
    assert shares["supported"] <= bound(0.025, 200) and shares["refuted"] <= bound(0.05, 200)
