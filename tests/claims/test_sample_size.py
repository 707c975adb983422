"""The sample size that settles a claim."""

from __future__ import annotations

import numpy as np
import pytest
from claim_cases import ONCE, SPOT, decide_runs, size_runs
from claim_tables import run, seeds

from sweeper.claims.verdict import Verdict


def test_required_sample_size_settles_the_claim() -> None:
    rng = np.random.default_rng(5)

    def study(count: int, queries: int = 600) -> Verdict:
        drawn = rng.normal(0, 0.03, (2, count))
        once = [run(0.6 + drawn[0, k], seed=k) for k in range(count)]
        thrice = [run(0.6 + drawn[1, k], seed=k, num_train_epochs=3.0) for k in range(count)]
        return decide_runs(ONCE, once + thrice, queries)

    found = next(v for v in (study(3) for _ in range(50)) if v.label == "inconclusive" and abs(v.estimate) < 0.02)
    assert found.required_sample_size is not None and found.required_sample_size.seeds is not None
    assert (
        found.required_sample_size.more_seeds == found.required_sample_size.seeds - 3
        and 1 <= found.required_sample_size.more_seeds < 30
    )
    settled = [study(found.required_sample_size.seeds + 5).label for _ in range(5)]
    assert settled.count("supported") >= 3
    assert study(30).required_sample_size is None


def test_required_sample_size_is_none_with_a_reason() -> None:
    one = decide_runs(SPOT, size_runs(0.5, 0.8, 0.8, count=1))
    assert (
        one.required_sample_size is not None
        and one.required_sample_size.seeds is None
        and "One seed" in one.required_sample_size.reason
    )
    few = decide_runs(ONCE, seeds(3, 1.0) + seeds(3, 1.0, num_train_epochs=3.0), queries=18)
    assert few.label == "inconclusive" and few.required_sample_size is not None
    assert few.required_sample_size.seeds is None and few.required_sample_size.queries == pytest.approx(72, abs=2), (
        "3.6 / margin"
    )
    edge = decide_runs(ONCE, seeds(3, 0.5) + seeds(3, 0.55, num_train_epochs=3.0))
    assert edge.required_sample_size is not None and (
        edge.required_sample_size.seeds,
        edge.required_sample_size.queries,
    ) == (None, None)
    assert "too close" in edge.required_sample_size.reason
    assert decide_runs(SPOT, size_runs(0.5, 0.8, 0.8)).required_sample_size is None
