"""`reaches` on tables whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from claim_cases import GENERAL, REACHES, decide_runs, measure_false_support
from claim_tables import seeds
from pydantic import ValidationError

from sweeper.config import Claim


@pytest.mark.parametrize(
    ("direction", "rate", "word"),
    [
        ("at-least", 0.75, "supported"),
        ("at-least", 0.5, "refuted"),
        ("at-least", 0.66, "inconclusive"),
        ("at-most", 0.6, "supported"),
        ("at-most", 0.9, "refuted"),
        ("at-most", 0.74, "inconclusive"),
        ("about", 0.7, "supported"),
        ("about", 0.9, "refuted"),
        ("about", 0.5, "refuted"),
        ("about", 0.74, "inconclusive"),
        ("at-least", 1.0, "supported"),
        ("at-least", 0.0, "refuted"),
    ],
)
def test_reaches_by_direction(direction: str, rate: float, word: str) -> None:
    found = decide_runs(REACHES.model_copy(update={"direction": direction}), seeds(3, rate), queries=1200)
    assert found.label == word
    assert found.estimate == pytest.approx(rate - 0.7)
    assert found.interval.low <= found.estimate <= found.interval.high
    assert (found.n_queries, found.n_seeds, found.n) == (1200, 3, 3600)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": 0.02, "margin": 0.9}, "below the reference, 0.02: a pass rate of 0 would do"),
        ({"reference": 0.1, "margin": 0.1, "direction": "about"}, "below the reference, 0.1"),
        ({"reference": 0.9, "margin": 0.2, "direction": "at-most"}, "below 0.1: a pass rate of 1"),
    ],
)
def test_reaches_refuses_a_margin_that_every_rate_keeps(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Claim.model_validate(REACHES.model_dump() | changes)


def test_reaches_needs_one_arm() -> None:
    both = seeds(2, 0.9) + seeds(2, 0.9, num_train_epochs=3.0)
    mixed = decide_runs(REACHES, both)
    assert mixed.label == "inconclusive" and "more than one arm: num_train_epochs" in mixed.reason
    one = REACHES.model_copy(update={"where": {"num_train_epochs": 3.0}})
    assert decide_runs(one, both).label == "supported"
    named = REACHES.model_copy(update={"axis": "num_train_epochs", "candidate": 3.0})
    assert decide_runs(named, both).label == "supported"
    assert decide_runs(REACHES.model_copy(update={"where": {"num_train_epochs": 5.0}}), both).label == "inconclusive"


def test_seed_spread_widens_the_interval_of_a_rate() -> None:
    steady, scattered = decide_runs(REACHES, seeds(3, 0.8)), decide_runs(REACHES, seeds(3, [0.6, 0.8, 1.0]))
    assert steady.estimate == pytest.approx(scattered.estimate)
    assert steady.label == "supported" and scattered.label == "inconclusive"


@pytest.mark.slow
def test_false_support_at_the_margin_stays_below_alpha() -> None:
    limit = 0.025 + 3 * math.sqrt(0.025 * 0.975 / 300)
    runs = seeds(4, 0.5)
    assert measure_false_support(REACHES, runs, lambda o, t: np.full(len(o), 0.65), 300, 120) < limit
    unseen = lambda o, t: np.where(o["subset"].str.endswith("_instruction"), 0.6, 0.55)  # noqa: E731
    assert measure_false_support(GENERAL, runs, unseen, 300, 240) < limit
