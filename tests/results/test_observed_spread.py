"""The spread of finished runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweeper.results.observed_spread import measure_spread
from sweeper.training import TrialRow

AXES = ("model", "seed")


def make_study(rates: dict[str, list[float]], queries: int = 4000, statuses: tuple[str, ...] = ()) -> Any:
    """Runs whose queries pass independently at each run's own rate."""
    rng, rows, frames = np.random.default_rng(3), [], []
    for model, own in rates.items():
        for seed, rate in enumerate(own):
            name = f"{model}-{seed}"
            status: Any = statuses[seed] if statuses else "COMPLETE"
            rows.append(TrialRow(name, status, planned={"fingerprint": name, "model": model, "seed": seed}))
            passed = (rng.random(queries) < rate).astype(float)
            ids = [str(k) for k in range(queries)]
            fields = {"fingerprint": name, "subset": "G1", "query_id": ids, "judge": "rules", "vote": 0}
            frames.append(pd.DataFrame({**fields, "passed": passed}))
    return rows, pd.concat(frames, ignore_index=True)


def test_spread_is_that_of_the_rates_without_chance() -> None:
    rates = list(np.random.default_rng(1).normal(0.5, 0.08, 40))
    found = measure_spread(AXES, *make_study({"a": rates, "b": [rate - 0.2 for rate in rates]}))
    assert found.seed_sd == pytest.approx(np.std(rates, ddof=1), rel=0.05)
    assert found.discordance == pytest.approx(np.mean([2 * 0.5 * 0.5, 2 * 0.3 * 0.7]), abs=0.02)
    assert found.collapse_rate == 0 and found.n_runs == 80


def test_equal_rates_have_no_spread_though_their_queries_differ() -> None:
    found = measure_spread(AXES, *make_study({"a": [0.5] * 30}, queries=100))
    assert found.seed_sd < 0.02 and found.discordance == pytest.approx(0.5, abs=0.03)


def test_too_few_runs_show_nothing() -> None:
    rows, outcomes = make_study({"a": [0.5, 0.6], "b": [0.5, 0.6, 0.5]})
    for found in (measure_spread(AXES, rows, outcomes), measure_spread(AXES, rows, pd.DataFrame())):
        assert math.isnan(found.seed_sd) and math.isnan(found.discordance) and found.n_runs == 5
    assert math.isnan(measure_spread(AXES, [], pd.DataFrame()).collapse_rate)


def test_arms_that_pass_nothing_show_no_spread() -> None:
    rows, outcomes = make_study({"dead": [0.0] * 9, "alive": [0.3, 0.7] * 4})
    assert measure_spread(AXES, rows, outcomes).seed_sd == pytest.approx(0.2 * (8 / 7) ** 0.5, rel=0.05)


def test_diverged_runs_are_counted() -> None:
    statuses = ("COMPLETE", "DIVERGED", "COMPLETE", "PENDING", "COMPLETE")
    rows, outcomes = make_study({"a": [0.5] * 5}, statuses=statuses)
    there = outcomes[outcomes["fingerprint"].isin({"a-0", "a-2", "a-4"})]
    assert measure_spread(AXES, rows, there).collapse_rate == pytest.approx(1 / 4)
    assert math.isnan(
        measure_spread(AXES, rows[:4], there[there["fingerprint"] != "a-4"]).collapse_rate
    )  # three finished runs
