"""Probabilities of better, equal and worse against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from claim_cases import SPOT, STABLE, clipping_runs, decide_runs, size_runs
from scipy import stats

from sweeper.claims.probability import SHARES_PRIOR, compute_probabilities, make_normal_posterior, make_share_posterior
from sweeper.statistics.exact_shares import TwoShares


def test_one_variance_gives_students_t() -> None:
    draws = make_normal_posterior(0.1, [(0.0025, 4)], (-10.0, 10.0)).draw(np.random.default_rng(1))
    for bound in (0.0, 0.1, 0.2):
        assert (draws > bound).mean() == pytest.approx(stats.t.sf(bound, 4, 0.1, 0.05), abs=0.01)


def test_draws_stay_within_the_limits() -> None:
    draws = make_normal_posterior(0.9, [(0.5, 1)], (-1.0, 1.0)).draw(np.random.default_rng(1))
    assert draws.min() >= -1 and draws.max() <= 1 and len(draws) > 1000


def test_shares_have_jeffreys_posterior() -> None:
    draws = make_share_posterior(TwoShares(3, 10, 0, 10)).draw(np.random.default_rng(1))
    assert draws.mean() == pytest.approx(3.5 / 11 - 0.5 / 11, abs=0.005)


def test_probabilities_are_those_of_the_candidate() -> None:
    worse = decide_runs(SPOT, size_runs(0.5, 0.6, 0.7))
    found = compute_probabilities(next(c for c in worse.comparisons if c.first == "large"))
    assert found is not None and found.worse > 0.9, "the larger arm is better than the candidate"
    assert found.better + found.equal + found.worse == pytest.approx(1)


def test_no_difference_at_all_is_not_certain_to_be_equal() -> None:
    same = decide_runs(SPOT.model_copy(update={"margin": 0.002}), size_runs(0.6, 0.6, 0.6))
    found = compute_probabilities(same.comparisons[0])
    assert found is not None and 0.5 < found.equal < 1.0


def test_one_seed_has_no_probability_and_divergence_has_one() -> None:
    alone = decide_runs(SPOT, size_runs(0.5, 0.6, 0.6, count=1))
    assert compute_probabilities(alone.comparisons[0]) is None
    divergence = decide_runs(STABLE, clipping_runs(5, of=6)).comparisons[0]
    found = compute_probabilities(divergence)
    assert found is not None and found.prior == SHARES_PRIOR and found.better > 0.95
