"""`predicts`: what smaller models predict for a larger one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy
from claim_cases import make_claim
from claim_tables import RUN, asked
from pydantic import ValidationError

from sweeper.claims.decide import decide_claim
from sweeper.claims.tables import StudyEvidence
from sweeper.claims.verdict import Verdict

SIZES = {"s0": 1e6, "s1": 2e6, "s2": 4e6, "s3": 8e6, "s4": 16e6}
RATE = make_claim("predicts", axis="model", candidate="s4", margin=0.1)
LOSS = make_claim("predicts", metric="val_loss", axis="model", candidate="s4", margin=0.05)


def true_loss(size: float) -> float:
    return 0.5 + (size / 1e6) ** -0.5


def decide(claim: Any, *, shift: float = 0.0, rate: float | None = None, seed: int = 0, sizes: Any = SIZES) -> Verdict:
    """Decide the claim on four seeds a size; the candidate's pass rate is `rate`, its loss off the law by `shift`."""
    rng = np.random.default_rng(seed)
    trials, rates = [], {}
    for model, size in sizes.items():
        for k in range(4):
            name, loss = f"{model}-{k}", true_loss(size) * math.exp(rng.normal(0, 0.005))
            own = 0.9 * scipy.special.expit(8 * (1.1 - true_loss(size))) + rng.normal(0, 0.01)
            is_candidate = model == claim.candidate
            rates[name] = rate if is_candidate and rate is not None else float(np.clip(own, 0, 1))
            fields = {"model": model, "seed": k, "fingerprint": name, "parameters": size}
            trials.append(RUN | fields | {"val_loss": loss + shift * is_candidate})
    return decide_claim(claim, StudyEvidence(pd.DataFrame(trials), asked(rates, 600)), with_robustness_checks=False)


def test_a_pass_rate_on_the_curve_is_predicted() -> None:
    verdict = decide(RATE)
    assert verdict.label == "supported"
    assert abs(verdict.estimate) < 0.03
    assert verdict.n == 20 and verdict.binding_comparison.observations == "runs"
    assert verdict.binding_comparison.names[1] == "the prediction of 4 smaller models"


def test_a_pass_rate_off_the_curve_refutes() -> None:
    verdict = decide(RATE, rate=0.5)
    assert verdict.label == "refuted" and verdict.interval.high < -0.1


@pytest.mark.parametrize(("shift", "label"), [(0.0, "supported"), (0.2, "refuted")])
def test_a_loss_is_predicted_by_the_law_alone(shift: float, label: str) -> None:
    verdict = decide(LOSS, shift=shift, rate=0.5)
    assert verdict.label == label
    assert verdict.binding_comparison.unit == "nats"


def test_larger_models_than_the_candidate_are_no_evidence() -> None:
    claim = LOSS.model_copy(update={"candidate": "s3"})
    verdict = decide(claim)
    assert verdict.n == 16 and verdict.label == "supported"


def test_three_smaller_sizes_are_needed() -> None:
    verdict = decide(LOSS, sizes={name: SIZES[name] for name in ("s0", "s1", "s4")})
    assert verdict.reason == "Not decidable: below s4: 2 sizes with a loss, and 3 are needed."


def test_below_the_transition_nothing_is_predicted() -> None:
    claim = RATE
    low = {name: size / 1e4 for name, size in SIZES.items()}  # all losses are far above the midpoint
    assert "below this transition" in decide(claim, sizes=low).reason


@pytest.mark.slow
def test_at_the_limit_of_the_margin_support_is_rare() -> None:
    """The candidate's loss is off by exactly the margin: at most 2.5 %, and two Monte-Carlo errors of 80 studies."""
    supported = [decide(LOSS, shift=LOSS.margin, seed=seed).label == "supported" for seed in range(80)]
    assert np.mean(supported) <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 80)
    within = [decide(LOSS, shift=0.0, seed=seed).label for seed in range(80)]
    assert within.count("refuted") <= 80 * (0.025 + 2 * math.sqrt(0.025 * 0.975 / 80))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axis": "num_train_epochs", "candidate": 3}, "extrapolates over sizes"),
        ({"metric": "val_loss", "predictor": "gold_nll"}, "predicted by itself"),
        ({"metric": "agreement"}, "`metric: pass_rate` or `metric: val_loss` or `metric: gold_nll`"),
        ({"looks": [2, 3]}, "does not take `looks`"),
    ],
)
def test_fields_that_it_cannot_have(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_claim("predicts", **({"axis": "model", "candidate": "s4"} | fields))
