"""False verdicts of each kind at the limit of its claim, in studies of another generator than the product's.

Runs have normal effects and queries beta-distributed rates of their own; 200 studies, 4 seeds. At its limit a claim is
supported in at most 2.5 % of studies and refuted in at most 5 %, both plus two Monte-Carlo standard errors. Others:
`stabilises` in test_stabilises.py, collapsed runs in test_collapse.py, several looks in test_looks.py, and eight claims
in test_family.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from claim_cases import make_claim
from claim_tables import seeds, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.kinds.judge_independent import compare_judges
from sweeper.claims.tables import StudyEvidence
from sweeper.config import Claim

pytestmark = pytest.mark.slow

STUDIES, SEEDS, QUERIES = 200, 4, 240
SUBSETS = ("G1_instruction", "G1_tool")


def bound(level: float) -> float:
    return level + 2 * math.sqrt(level * (1 - level) / STUDIES)


def draw_passes(rates: dict[str, float], gap: float, seed_sd: float, rng: np.random.Generator) -> np.ndarray:
    """Passes (queries, runs) of four seeds of each arm; the second half of the queries is harder by `gap`."""
    runs = np.repeat(list(rates.values()), SEEDS) + rng.normal(0, seed_sd, SEEDS * len(rates))
    means = np.clip(runs[None, :] - np.repeat([0.0, gap], QUERIES // 2)[:, None], 0.01, 0.99)
    # The same quantile of a beta distribution of that mean in every run: queries are as hard for one as for another.
    quantile = np.linspace(0, 1, 401)[1:-1]
    place = rng.integers(0, len(quantile), QUERIES)
    spread = 4.0
    table = np.stack([np.sort(rng.beta(spread * m, spread * (1 - m), len(quantile))) for m in means.mean(axis=0)])
    own = table[:, place].T + means - means.mean(axis=0)
    return (rng.random(own.shape) < np.clip(own, 0, 1)).astype(float)


def count_verdicts(claim: Claim, rates: dict[str, float], gap: float = 0.0, **fields: Any) -> dict[str, float]:
    axis = claim.axis or "model"
    arms = [{axis: float(name) if axis != "model" else name} for name in rates]
    trials, _ = tables([{**each, **arm, **fields} for arm in arms for each in seeds(SEEDS)])
    index = pd.MultiIndex.from_arrays(
        [np.repeat(SUBSETS, QUERIES // 2), list(range(QUERIES))], names=["subset", "query_id"]
    )
    rng, labels = np.random.default_rng(12), []
    for _ in range(STUDIES):
        matrix = pd.DataFrame(draw_passes(rates, gap, 0.04, rng), index, list(trials["fingerprint"]))
        study = StudyEvidence(trials, pd.DataFrame(), ("model", "num_train_epochs"), matrix)
        labels.append(decide_claim(claim, study, with_robustness_checks=False).label)
    return {label: labels.count(label) / STUDIES for label in ("supported", "refuted", "inconclusive")}


BEST = make_claim("best-of", axis="model", candidate="middle", margin=0.1)
LIMITS: dict[str, tuple[Claim, dict[str, float], float]] = {
    "best-of, no better than the smaller": (BEST, {"small": 0.5, "middle": 0.5, "large": 0.2}, 0.0),
    "best-of, the larger better by the margin": (BEST, {"small": 0.2, "middle": 0.5, "large": 0.6}, 0.0),
    "best-of, smallest not inferior": (
        BEST.model_copy(update={"reading": "smallest-non-inferior"}),
        {"small": 0.4, "middle": 0.5, "large": 0.5},
        0.0,
    ),
    "no-gain-beyond, models": (
        make_claim("no-gain-beyond", axis="model", candidate="small", margin=0.1),
        {"small": 0.5, "middle": 0.6},
        0.0,
    ),
    "no-gain-beyond, epochs": (
        make_claim("no-gain-beyond", axis="num_train_epochs", candidate=1, margin=0.1),
        {"1": 0.5, "3": 0.6},
        0.0,
    ),
    "reaches, at least": (make_claim("reaches", reference=0.6, direction="at-least"), {"small": 0.55}, 0.0),
    "reaches, at most": (make_claim("reaches", reference=0.6, direction="at-most"), {"small": 0.65}, 0.0),
    "reaches, about": (make_claim("reaches", reference=0.6, direction="about"), {"small": 0.65}, 0.0),
    "generalises, at least": (make_claim("generalises", direction="at-least", margin=0.1), {"small": 0.6}, 0.1),
    "generalises, about": (make_claim("generalises", direction="about", margin=0.1), {"small": 0.6}, 0.1),
}


@pytest.mark.parametrize("name", LIMITS)
def test_false_verdicts_at_the_limit_stay_below_their_levels(name: str) -> None:
    claim, rates, gap = LIMITS[name]
    found = count_verdicts(claim, rates, gap)
    assert found["supported"] <= bound(0.025) and found["refuted"] <= bound(0.05), found


@pytest.mark.parametrize("name", ["at the same price", "at half the price, as claimed"])
def test_false_verdicts_on_costs_stay_below_their_levels(name: str) -> None:
    """The ratio of costs is exactly the reference, and the quality is the same."""
    reference = 1.0 if name == "at the same price" else 0.5
    claim = make_claim(
        "cheaper",
        metric="cost_per_solved",
        axis="model",
        candidate="small",
        against=["large"],
        reference=reference,
        margin=0.2,
        price_per_hour={"small": reference, "large": 1.0},
    )
    found = count_verdicts(claim, {"small": 0.6, "large": 0.6})
    assert found["supported"] <= bound(0.025) and found["refuted"] <= bound(0.05), found


def test_clear_truths_are_found() -> None:
    """A bound on false verdicts says nothing of a procedure that never decides."""
    assert count_verdicts(BEST, {"small": 0.2, "middle": 0.6, "large": 0.5})["supported"] > 0.8
    assert count_verdicts(BEST, {"small": 0.6, "middle": 0.3, "large": 0.6})["refuted"] > 0.9


@pytest.mark.parametrize("limit", ["agreement", "rates"])
def test_false_verdicts_on_judges_stay_below_their_levels(limit: str) -> None:
    """Half of the answers pass, where AC1 is twice the agreement less one. One of both conditions is at its limit."""
    claim = make_claim("judge-independent", metric="agreement", reference=0.6, margin=0.05)
    rng, labels = np.random.default_rng(21), []
    # A fifth of the answers seen differently leaves an AC1 of 0.6; a tenth of the failed ones a gap of 5 points.
    flips = (0.2, 0.2) if limit == "agreement" else (0.0, 0.1)
    for _ in range(STUDIES):
        queries, runs = rng.beta(2, 2, (QUERIES, 1)), rng.normal(0, 0.04, (1, SEEDS))
        first = (rng.random((QUERIES, SEEDS)) < np.clip(queries + runs, 0, 1)).astype(float)
        flip = np.where(first == 1, flips[0], flips[1])
        second = np.where(rng.random(first.shape) < flip, 1 - first, first)
        comparisons = compare_judges(claim, {"a": first, "b": second}, list(range(SEEDS)))
        labels.append((all(c.is_established for c in comparisons), any(c.is_refuted for c in comparisons)))
    supported, refuted = np.mean(labels, axis=0)
    assert supported <= bound(0.025) and refuted <= bound(0.05), (supported, refuted)
