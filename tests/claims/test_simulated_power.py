"""The power of whole claims, against verdicts on simulated studies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from claim_cases import CHEAP, ONCE, REACHES, SPOT, make_claim
from claim_tables import seeds, tables

from sweeper.claims.minimum_detectable import simulate_passes
from sweeper.claims.planned_power import ClaimDesign
from sweeper.claims.simulated_power import simulate_claim_power
from sweeper.claims.study_verdicts import decide_at_looks
from sweeper.claims.tables import StudyEvidence
from sweeper.config import Claim

SIZES = ("small", "middle", "large")


def make_design(n_seeds: int, queries: int = 200, models: tuple[str, ...] = SIZES) -> ClaimDesign:
    trials, _ = tables([{**each, "model": model} for model in models for each in seeds(n_seeds)])
    axes = ("model", "num_train_epochs", "seed")
    rows = trials.to_dict("records")
    return ClaimDesign(n_seeds, {"G1_tool": queries}, rows, axes, np.random.default_rng(5))  # type: ignore[arg-type]


def assume(claim: Claim, **fields: Any) -> Claim:
    return claim.model_copy(update={"assumed_seed_sd": 0.05, "assumed_discordance": 0.3} | fields)


def decide_drawn(claim: Claim, rates: dict[str, float], n_seeds: int, studies: int) -> tuple[float, float]:
    """Share of supported claims and mean seeds, by the verdicts themselves."""
    trials, _ = tables([{**each, "model": model} for model in rates for each in seeds(n_seeds)])
    rng, found = np.random.default_rng(6), []
    index = pd.MultiIndex.from_product([["G1_tool"], range(200)], names=["subset", "query_id"])
    for _ in range(studies):
        runs = np.repeat(list(rates.values()), n_seeds)
        spread = claim.assumed_discordance, claim.assumed_seed_sd
        passed = simulate_passes(runs, (1, 200, len(trials)), *spread, rng)[0]
        matrix = pd.DataFrame(passed, index, list(trials["fingerprint"]))
        found.append(decide_at_looks(claim, StudyEvidence(trials, pd.DataFrame(), ("model",), matrix)))
    used = [verdict.look.n_seeds if verdict.look else n_seeds for verdict in found]
    return sum(verdict.label == "supported" for verdict in found) / studies, float(np.mean(used))


@pytest.mark.slow
@pytest.mark.parametrize("looks", [{}, {"looks": [2, 4], "spend": [0.02, 0.03]}], ids=["once", "looks"])
def test_simulated_power_is_the_share_of_supported_verdicts(looks: dict[str, Any]) -> None:
    """Within three standard errors of 150 and 400 studies."""
    claim = assume(SPOT, margin=0.15, **looks)
    power = simulate_claim_power(claim, make_design(4))
    share, used = decide_drawn(claim, {"small": 0.35, "middle": 0.5, "large": 0.5}, 4, 150)
    assert power is not None and power.power == pytest.approx(share, abs=3 * (0.25 / 150 + 0.25 / 400) ** 0.5)
    assert power.expected_seeds == pytest.approx(used, abs=0.4)


def test_a_claim_has_less_power_than_each_of_its_comparisons() -> None:
    claim = assume(SPOT, margin=0.15)
    both, smaller = (simulate_claim_power(claim, make_design(4, models=models)) for models in (SIZES, SIZES[:2]))
    assert both is not None and smaller is not None and both.power < smaller.power
    assert both.fixed_seeds is None and both.expected_seeds == 4 and both.stopping == ((4, 1.0),)


def test_looks_take_fewer_seeds_than_the_last_one() -> None:
    claim = assume(SPOT, margin=0.3, looks=[3, 6, 10], assumed_seed_sd=0.03)
    power = simulate_claim_power(claim, make_design(10), studies=100)
    assert power is not None and power.power > 0.95 and 3 <= power.expected_seeds < 7
    assert power.fixed_seeds is not None and power.fixed_seeds <= 10
    assert sum(share for _, share in power.stopping) == pytest.approx(1)


def test_looks_beyond_the_planned_seeds_are_left_out() -> None:
    claim = assume(SPOT, margin=0.3, looks=[3, 6, 10])
    power = simulate_claim_power(claim, make_design(6), studies=50)
    assert power is not None and [seeds for seeds, _ in power.stopping] == [3, 6]


@pytest.mark.parametrize("claim", [REACHES, make_claim("no-gain-beyond", axis="model", candidate="middle")], ids=str)
def test_other_kinds_have_a_power_too(claim: Claim) -> None:
    few, many = (simulate_claim_power(assume(claim, margin=0.1), make_design(n), studies=100) for n in (2, 12))
    assert few is not None and many is not None and few.power < many.power <= 1


def test_what_rests_on_more_than_pass_rates_has_none() -> None:
    assert simulate_claim_power(CHEAP, make_design(4)) is None
    assert simulate_claim_power(SPOT, make_design(4, queries=0)) is None
    assert simulate_claim_power(SPOT, make_design(1)) is None
    assert simulate_claim_power(ONCE.model_copy(update={"candidate": 7}), make_design(4)) is None


@pytest.mark.parametrize("estimand", ["mean", "trained-runs"])
def test_runs_that_collapse_cost_power(estimand: str) -> None:
    claim = assume(SPOT, margin=0.3, assumed_seed_sd=0.02, estimand=estimand)
    powers = []
    for rate in (0.0, 0.1, 0.5):
        found = simulate_claim_power(claim, replace(make_design(6), collapse_rate=rate))
        assert found is not None
        powers.append(found.power)
    assert powers[0] > 0.95
    assert powers[0] >= powers[1] > powers[2] if estimand == "mean" else powers[0] >= powers[1] >= powers[2]
    if estimand == "mean":
        assert powers[2] < 0.2
    almost_all = simulate_claim_power(claim, replace(make_design(6), collapse_rate=0.9))
    assert almost_all is not None and almost_all.power == 0
