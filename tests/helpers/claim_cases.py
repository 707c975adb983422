"""Claims of every kind, and runs that decide them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from claim_tables import run, seeds, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.study_verdicts import decide_claims
from sweeper.claims.tables import StudyEvidence
from sweeper.claims.verdict import Verdict
from sweeper.config import Claim


def make_claim(kind: str, **fields: Any) -> Claim:
    base: dict[str, Any] = {"id": kind, "text": "It is so.", "kind": kind, "margin": 0.05}
    return Claim.model_validate(base | fields)


REACHES = make_claim("reaches", reference=0.7, direction="at-least")


SPOT = make_claim("best-of", axis="model", candidate="middle")


ONCE = make_claim("no-gain-beyond", axis="num_train_epochs", candidate=1, overfitting=True)


STABLE = make_claim(
    "stabilises", metric="divergence_rate", axis="max_grad_norm", candidate=0.3, against=[None], margin=0.2
)


GENERAL = make_claim("generalises", direction="at-least")


JUDGES = make_claim("judge-independent", metric="agreement", reference=0.6)


CHEAP = make_claim(
    "cheaper", metric="cost_per_solved", axis="model", candidate="small", against=["large"], reference=0.5
)


def decide_runs(asks: Claim, runs: list[dict[str, Any]], queries: int = 600, **more: Any) -> Verdict:
    trials, outcomes = tables(runs, queries)
    return decide_claim(asks, StudyEvidence(trials, outcomes), **({"with_robustness_checks": False} | more))


def size_runs(small: Any, middle: Any, large: Any, count: int = 3, **fields: Any) -> list[dict[str, Any]]:
    rates = {"small": small, "middle": middle, "large": large}
    return [each for model, rate in rates.items() for each in seeds(count, rate, model=model, **fields)]


def clipping_runs(diverged: int, of: int = 10, clipped: int = 0, scatter: float = 0.0) -> list[dict[str, Any]]:
    """`of` seeds with clipping and without it; some of each diverge."""
    runs = []
    for clip, gone in ((0.3, clipped), (math.nan, diverged)):
        for k in range(of):
            status = "DIVERGED" if k < gone else "COMPLETE"
            rate = 0.7 + (scatter * (-1) ** k if clip == 0.3 else 0.0)
            runs.append(run(rate, seed=k, max_grad_norm=clip, status=status))
    return runs


def judge_twice(flip: float, lenient: bool = False, rates: tuple[float, ...] = (0.3, 0.7, 0.3)) -> Any:
    """A second judge that differs on a share of the answers: at random, or always in favour."""
    trials, outcomes = tables(size_runs(*rates), 300)
    rng = np.random.default_rng(1)
    other = outcomes.assign(judge="llm")
    turn = rng.random(len(other)) < flip
    other.loc[turn, "passed"] = 1.0 if lenient else 1 - other.loc[turn, "passed"]
    return trials, pd.concat([outcomes, other], ignore_index=True)


def decide_across_judges(trials: pd.DataFrame, outcomes: pd.DataFrame, claims: list[Claim]) -> Verdict:
    return decide_claims(claims, StudyEvidence(trials, outcomes), judge="oracle")[-1]


CASES = {
    "reaches": (REACHES, size_runs(0.8, 0.8, 0.8)[:3]),
    "best-of": (SPOT, size_runs(0.5, 0.8, 0.8)),
    "no-gain-beyond": (ONCE, seeds(3, 0.6) + seeds(3, 0.6, num_train_epochs=3.0)),
    "stabilises": (STABLE, clipping_runs(9)),
    "generalises": (GENERAL, seeds(3, {"_instruction": 0.6, "_tool": 0.9, "_category": 0.9})),
    "cheaper": (CHEAP.model_copy(update={"reference": 2.0}), size_runs(0.6, 0.6, 0.6)),
}


def measure_false_support(asks: Claim, runs: list[dict[str, Any]], rate: Any, studies: int, queries: int) -> float:
    """Share of studies that support a claim whose truth is at its boundary: seeds and queries drawn."""
    rng = np.random.default_rng(11)
    trials, outcomes = tables(runs, queries)
    truth = rate(outcomes, trials)
    names, places = (pd.factorize(outcomes[name])[0] for name in ("fingerprint", "query_id"))
    seed = (
        outcomes["fingerprint"].map(dict(zip(trials["fingerprint"], trials["seed"], strict=True))).to_numpy(dtype=int)
    )
    wrong = 0
    for _ in range(studies):
        hard, drift = rng.normal(0, 0.15, queries), rng.normal(0, 0.02, (names.max() + 1))
        chance = np.clip(truth + hard[places] - hard.mean() + drift[names], 0, 1)
        passed = (rng.random(len(outcomes)) < chance).astype(float)
        drawn = outcomes.assign(passed=passed)
        found = decide_claim(asks, StudyEvidence(trials, drawn), with_robustness_checks=False)
        wrong += found.label == "supported"
    assert len(set(seed)) > 1
    return wrong / studies
