"""Figures before the run, held against closed forms and against the claims' own intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweeper.claims import minimum_detectable as detectable
from sweeper.claims.minimum_detectable import compute_detectable_divergence, estimate_detectable_margin
from sweeper.config import Claim


def claim(kind: str = "reaches", **fields: object) -> Claim:
    base: dict[str, object] = {"id": "c", "text": "So.", "kind": kind, "margin": 0.05, "direction": "at-least"}
    base |= {"where": {"model": "m"}} | ({"reference": 0.7} if kind == "reaches" else {})
    return Claim.model_validate(base | fields)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.slow
def test_many_seeds_of_one_arm_are_a_normal_approximation() -> None:
    # Seeds alone spread, and queries hardly matter: t on the seeds, and the power's own quantile.
    found = estimate_detectable_margin(
        claim(assumed_seed_sd=0.1, assumed_discordance=0.42),
        n_seen_queries=600,
        n_unseen_queries=600,
        n_seeds=30,
        rng=rng(),
    )
    error = math.sqrt(0.1**2 / 30 + 0.21 / (1200 * 30))
    expected = (stats.t.ppf(0.975, 29) + stats.norm.ppf(0.8)) * error
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_more_seeds_and_queries_show_smaller_margins() -> None:
    by_seeds = [
        estimate_detectable_margin(claim(), n_seen_queries=300, n_unseen_queries=300, n_seeds=s, rng=rng(), studies=100)
        for s in (2, 4, 16)
    ]
    assert by_seeds == sorted(by_seeds, reverse=True) and by_seeds[0] > 2 * by_seeds[-1]
    few = estimate_detectable_margin(claim(), n_seen_queries=30, n_unseen_queries=30, n_seeds=4, rng=rng(), studies=100)
    assert few > by_seeds[1]


@pytest.mark.slow
def test_two_samples_show_less_than_one() -> None:
    one = estimate_detectable_margin(
        claim(reference=0.5), n_seen_queries=300, n_unseen_queries=300, n_seeds=4, rng=rng(), studies=100
    )
    two = estimate_detectable_margin(
        claim("generalises"), n_seen_queries=300, n_unseen_queries=300, n_seeds=4, rng=rng(), studies=100
    )
    assert two > one


@pytest.mark.parametrize("kind", ["reaches", "generalises"])
@pytest.mark.parametrize("rate", [0.5, 0.97, 0.999])
def test_many_studies_at_once_need_what_each_reports(kind: str, rate: float) -> None:
    given = claim(kind, assumed_seed_sd=0.02, **({"reference": rate} if kind == "reaches" else {}))
    passed = detectable._simulate_passes(rate, (40, 90, 3), 0.2, 0.02, rng())
    passed[0] = 1.0
    found = detectable._compute_established_margin(given, passed, n_seen_queries=60, rate=rate)
    alone = [-detectable._compute_reported_interval(given, study, 60, rate).low for study in passed]
    assert found == pytest.approx(alone, abs=1e-12)
    assert len(set(alone)) > 1


def test_one_side_alone_shows_nothing() -> None:
    assert math.isnan(
        estimate_detectable_margin(claim("generalises"), n_seen_queries=300, n_unseen_queries=0, n_seeds=4, rng=rng())
    )


def test_divergence_is_mcnemars_exact_test() -> None:
    assert math.isnan(compute_detectable_divergence(0.05, 5)), "five of five have p = 2/32"
    found = compute_detectable_divergence(0.05, 10)
    assert stats.binom.sf(5, 10, found) == pytest.approx(0.8), "six of ten or more are shown"
    assert compute_detectable_divergence(0.05, 100) < found
