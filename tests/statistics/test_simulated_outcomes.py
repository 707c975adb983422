"""Drawn outcomes have the rates, spreads and errors that the truth states."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sweeper.errors import UsageError
from sweeper.statistics import build_pass_matrix
from sweeper.statistics.simulated_outcomes import (
    GroundTruth,
    SimulatedArm,
    assign_true_rates,
    draw_outcomes,
    draw_study,
)


def trials(seeds: int = 2) -> pd.DataFrame:
    rows = [(m, s) for m in ("small", "large") for s in range(seeds)]
    return pd.DataFrame(rows, columns=["model", "seed"]).assign(
        fingerprint=[f"{m}{s}" for m, s in rows], status="COMPLETE", num_train_epochs=1.0
    )


def truth(**more: object) -> GroundTruth:
    arms = (SimulatedArm(0.6), SimulatedArm(0.8, {"model": "large"}))
    return GroundTruth(**({"arms": arms, "subsets": {"G1_tool": 3000, "G2_category": 3000}} | more))  # type: ignore[arg-type]


def test_later_arm_overrides_an_earlier_one_and_every_trial_needs_one() -> None:
    assert assign_true_rates(trials(), truth()).to_dict() == {
        "small0": 0.6,
        "small1": 0.6,
        "large0": 0.8,
        "large1": 0.8,
    }
    with pytest.raises(UsageError, match="small"):
        assign_true_rates(trials(), truth(arms=(SimulatedArm(0.8, {"model": "large"}),)))
    with pytest.raises(UsageError, match="colour"):
        assign_true_rates(trials(), truth(arms=(SimulatedArm(0.8, {"colour": "red"}),)))


@pytest.mark.parametrize("query_sd", [0.0, 1.5])
def test_simulated_rates_are_marginal_at_any_spread(query_sd: float) -> None:
    matrix = build_pass_matrix(
        trials(), draw_outcomes(trials(), truth(query_sd=query_sd, seed_sd=0), np.random.default_rng(1))
    )
    assert matrix.shape == (6000, 4)
    assert matrix.mean()["small0"] == pytest.approx(0.6, abs=0.025)
    assert matrix.mean()["large1"] == pytest.approx(0.8, abs=0.025)
    shared = matrix["small0"].corr(matrix["small1"])
    assert (shared > 0.3) == (query_sd > 0), "hard queries are hard for every run"


def test_simulated_seeds_have_the_given_spread() -> None:
    many = trials(seeds=100)
    small = truth(arms=(SimulatedArm(0.5),), subsets={"G1_tool": 400}, query_sd=0, seed_sd=0.5)
    rates = build_pass_matrix(many, draw_outcomes(many, small, np.random.default_rng(2))).mean()
    from scipy.stats import norm

    assert norm.ppf(rates).std() == pytest.approx(0.5, rel=0.2)


def test_heavy_tails_keep_the_marginal_rate_and_the_spread() -> None:
    many = trials(seeds=400)
    heavy = truth(arms=(SimulatedArm(0.7),), subsets={"G1_tool": 100}, query_sd=0, seed_sd=0.8, tail=3)
    rates = build_pass_matrix(many, draw_outcomes(many, heavy, np.random.default_rng(5))).mean()
    assert rates.mean() == pytest.approx(0.7, abs=0.025)


def test_queries_of_a_tool_are_alike() -> None:
    clustered = truth(arms=(SimulatedArm(0.5),), query_sd=0, seed_sd=0, tool_sd=2.0, queries_per_tool=10)
    matrix = build_pass_matrix(trials(1), draw_outcomes(trials(1), clustered, np.random.default_rng(6)))
    by_tool = matrix["small0"].to_numpy().reshape(-1, 10).mean(axis=1)
    assert by_tool.var() > 3 * 0.25 / 10
    assert matrix["small0"].mean() == pytest.approx(0.5, abs=0.05)


def test_an_arms_own_query_effects_are_shared_by_its_runs_alone() -> None:
    own = truth(query_sd=0, seed_sd=0, arm_query_sd=2.0)
    matrix = build_pass_matrix(trials(), draw_outcomes(trials(), own, np.random.default_rng(7)))
    assert matrix["small0"].corr(matrix["small1"]) > 0.3
    assert abs(matrix["small0"].corr(matrix["large0"])) < 0.05


def test_runs_collapse_by_arm_with_their_share() -> None:
    many = trials(seeds=300)
    arms = (SimulatedArm(0.5), SimulatedArm(0.5, {"model": "large"}, seed_sd=0.0, collapse=0.2))
    drawn = draw_study(many, truth(arms=arms, subsets={"G1_tool": 3}), np.random.default_rng(8)).trials
    gone = drawn["status"].eq("DIVERGED").groupby(drawn["model"]).mean()
    assert gone["small"] == 0 and gone["large"] == pytest.approx(0.2, abs=0.07)


def test_judge_errors_shift_the_simulated_rate() -> None:
    noisy = truth(arms=(SimulatedArm(0.5),), query_sd=0, seed_sd=0, wrongly_passed=0.2, wrongly_failed=0.1, votes=3)
    outcomes = draw_outcomes(trials(1), noisy, np.random.default_rng(3))
    assert outcomes["passed"].mean() == pytest.approx(0.5 * 0.9 + 0.5 * 0.2, abs=0.015)
    assert sorted(outcomes["vote"].unique()) == [0, 1, 2]


@pytest.mark.parametrize(
    "wrong", [{"wrongly_passed": 1.1}, {"seed_sd": -1}, {"votes": 0}, {"arms": (SimulatedArm(2.0),)}, {"subsets": {}}]
)
def test_simulation_refuses_an_impossible_truth(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="truth"):
        truth(**wrong)
