from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.discrete.conditional_models import ConditionalLogit

from sweeper.errors import DataError
from sweeper.statistics import fit_mixed_logistic

NUMBERS = ("log_odds", "sd", "sign", "probability", "query_sd", "seed_sd")


def arms(effect: float, queries: int, seeds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Passes of two arms: queries of sd 1.5, seeds of sd 0.2, `effect` in log-odds."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 1.5, (queries, 1)) + rng.normal(0, 0.2, (1, seeds))
    first, second = (rng.random((queries, seeds)) < 1 / (1 + np.exp(-level - shift)) for shift in (effect, 0.0))
    return first.astype(float), second.astype(float)


def test_mixed_model_recovers_an_effect_and_matches_conditional_logit() -> None:
    """Conditioning on the query removes its effect without a distribution for it: another route to one number."""
    first, second = arms(0.7, 150, 3)
    found = fit_mixed_logistic(first, second)
    passed = np.concatenate([first.ravel(), second.ravel()])
    arm = np.repeat([1.0, 0.0], first.size)
    query = np.tile(np.repeat(np.arange(150), 3), 2)
    conditional = ConditionalLogit(passed, arm[:, None], groups=query).fit(disp=0)
    assert found.log_odds == pytest.approx(float(conditional.params[0]), abs=0.35 * float(conditional.bse[0]))
    assert found.sd == pytest.approx(float(conditional.bse[0]), rel=0.15)
    assert abs(found.log_odds - 0.7) < 3 * found.sd and found.query_sd == pytest.approx(1.5, rel=0.2)
    assert (found.n, found.n_dropped, found.has_converged, found.reason) == (900, 0, True, "")
    assert found.sign == 1.0 and found.probability > 0.99


@pytest.mark.slow
def test_mixed_model_mirrors_swapped_arms() -> None:
    first, second = arms(0.4, 20, 2, seed=1)
    there, back = fit_mixed_logistic(first, second), fit_mixed_logistic(second, first)
    assert back.log_odds == pytest.approx(-there.log_odds, abs=1e-3) and back.sign == -there.sign
    assert back.probability == pytest.approx(1 - there.probability, abs=1e-3)
    assert abs(there.log_odds) > 0.05


@pytest.mark.slow
def test_mixed_model_accepts_missing_scores_and_one_seed() -> None:
    first, second = arms(1.5, 30, 1, seed=2)
    first[:5] = np.nan
    found = fit_mixed_logistic(first, second)
    assert (found.n, found.n_dropped) == (55, 5) and math.isnan(found.seed_sd)
    assert found.sign == 1.0 and found.sd > 0 and found.has_converged
    again = fit_mixed_logistic(first, second)
    assert repr(again) == repr(found), "the same data give the same numbers"


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (np.ones((5, 2)), np.ones((5, 2)), "alike"),
        (np.zeros((5, 2)), np.zeros((5, 2)), "alike"),
        (np.full((5, 2), np.nan), np.eye(5, 2), "arm"),
        (np.full((5, 2), np.nan), np.full((5, 2), np.nan), "arm"),
        (np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]), "two queries"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "arm"),
    ],
    ids=["all pass", "all fail", "NaN arm", "nothing", "one query", "no query"],
)
def test_mixed_model_is_nan_with_a_reason_where_it_cannot_be_fitted(
    first: np.ndarray, second: np.ndarray, reason: str
) -> None:
    found = fit_mixed_logistic(first, second)
    assert all(math.isnan(getattr(found, name)) for name in NUMBERS)
    assert reason in found.reason and found.has_converged is False


def test_mixed_model_rejects_an_unconverged_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.statistics.mixed_model.MAX_ITERATIONS", 1)
    found = fit_mixed_logistic(*arms(0.7, 30, 2))
    assert math.isnan(found.log_odds) and found.reason == "no convergence"


def test_mixed_model_is_finite_for_an_arm_that_passes_everything() -> None:
    found = fit_mixed_logistic(np.ones((15, 2)), arms(0.0, 15, 2)[1])
    assert found.sign == 1.0 and math.isfinite(found.log_odds) and found.probability > 0.99


@pytest.mark.parametrize(
    ("first", "second"), [(np.ones((2, 2)), np.ones((2, 1))), (np.ones(3), np.ones(3)), ([[0.5]], [[1.0]])], ids=str
)
def test_mixed_model_refuses_other_tables(first: np.ndarray, second: np.ndarray) -> None:
    with pytest.raises(DataError):
        fit_mixed_logistic(first, second)


@pytest.mark.slow
def test_mixed_model_sign_is_calibrated() -> None:
    """Posterior probabilities over studies whose effects come from around 0: calibrated within Monte-Carlo error."""
    rng, studies = np.random.default_rng(3), 60
    claimed, right = [], 0
    for study in range(studies):
        effect = rng.normal(0, 0.4)
        found = fit_mixed_logistic(*arms(effect, 60, 2, seed=100 + study))
        claimed.append(max(found.probability, 1 - found.probability))
        right += np.sign(effect) == found.sign
    assert abs(right / studies - np.mean(claimed)) < 3 * math.sqrt(np.mean(claimed) * (1 - np.mean(claimed)) / studies)
