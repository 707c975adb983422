"""`stabilises`: divergence, spread over seeds, loss spikes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from claim_cases import STABLE, clipping_runs, decide_runs
from claim_tables import run, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.kinds.stabilises import compute_spike_share, compute_tail_share
from sweeper.claims.tables import StudyEvidence


def test_stabilises_by_divergence() -> None:
    assert decide_runs(STABLE, clipping_runs(9)).label == "supported"
    assert decide_runs(STABLE, clipping_runs(5, of=6)).label == "supported", "McNemar's test of six pairs: p = .06"
    assert decide_runs(STABLE, clipping_runs(0, of=80)).label == "refuted", "nothing diverges with or without"
    assert decide_runs(STABLE, clipping_runs(0)).label == "inconclusive", "ten runs cannot say that none does"
    assert decide_runs(STABLE, clipping_runs(0, clipped=9)).label == "refuted"
    open_ = decide_runs(STABLE, clipping_runs(3))
    shares = next(c for c in open_.comparisons if c.metric.name == "divergence_rate")
    assert open_.label == "inconclusive" and shares.estimate.estimate == pytest.approx(0.3)


def test_spread_of_finished_runs_decides_nothing() -> None:
    dead = decide_runs(STABLE, clipping_runs(6, of=6, clipped=1))
    spread = next(c for c in dead.comparisons if c.metric.name == "pass_rate_spread")
    assert dead.label == "supported" and not spread.is_deciding
    assert math.isnan(spread.estimate.estimate) and "not applicable" in spread.estimate.method
    unsteady = decide_runs(STABLE.model_copy(update={"margin": 0.02}), clipping_runs(0, of=30, scatter=0.3))
    spread = next(c for c in unsteady.comparisons if c.metric.name == "pass_rate_spread")
    assert spread.result == "contradicted" and "spread" not in unsteady.reason


def test_spikes_and_gradient_tails_are_supplementary() -> None:
    runs = clipping_runs(9)
    trials, outcomes = tables(runs)
    steps = np.arange(1, 101)
    calm = pd.DataFrame({"step": steps, "loss": 1.0, "grad_norm": 0.1, "val_loss": np.nan})
    wild = calm.assign(grad_norm=np.where(steps % 2, 0.1, 5.0), loss=np.where(steps % 20, 1.0, 3.0))
    histories = {
        name: calm if clip == 0.3 else wild
        for name, clip in zip(trials["fingerprint"], trials["max_grad_norm"], strict=True)
    }
    found = decide_claim(STABLE, StudyEvidence(trials, outcomes, histories=histories))
    by_metric = {c.metric.name: c for c in found.comparisons}
    assert by_metric["gradient_tail"].estimate.estimate == pytest.approx(0.5)
    assert by_metric["loss_spikes"].estimate.estimate == pytest.approx(5 / 90)
    assert not by_metric["loss_spikes"].is_deciding and found.label == "supported"
    assert "no histories" in decide_runs(STABLE, runs).reason


def test_spike_share_counts_jumps_and_nan_losses() -> None:
    flat = pd.DataFrame({"step": range(30), "loss": 2.0, "grad_norm": 1.0})
    assert compute_spike_share(flat) == 0.0
    flat.loc[20, "loss"] = np.nan
    assert compute_spike_share(flat) == pytest.approx(1 / 20)
    assert math.isnan(compute_spike_share(flat.head(5)))
    assert compute_tail_share(flat, 0.5) == 1.0 and math.isnan(compute_tail_share(flat, math.nan))


def test_spread_of_validation_loss_needs_no_outcomes() -> None:
    runs = clipping_runs(9)
    for k, each in enumerate(runs):
        each["val_loss"] = 1 + 0.001 * (k % 10) if each["status"] == "COMPLETE" else math.nan
    runs += [run(seed=20 + k, max_grad_norm=math.nan, val_loss=1 + 0.001 * k) for k in range(9)]
    runs += [run(seed=20 + k, max_grad_norm=0.3, val_loss=1 + 0.001 * k) for k in range(9)]
    trials, _ = tables(runs)
    asks = STABLE.model_copy(update={"spread_of": "val_loss"})
    found = decide_claim(asks, StudyEvidence(trials, pd.DataFrame()))
    assert found.label == "supported" and {c.unit for c in found.comparisons} == {"points", "nats"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("without", "clipped", "label"),
    [(0.4, 0.4, "supported"), (0.4, 0.2, "refuted"), (1.0, 0.1, "refuted"), (0.2, 0.0, "refuted")],
)
def test_false_verdicts_stay_below_their_levels(without: float, clipped: float, label: str) -> None:
    # Six seeds and a margin of 0.2. While the spread decided, 48 % of studies refuted the third truth.
    rng, wrong, studies = np.random.default_rng(12), 0, 200
    for _ in range(studies):
        runs = clipping_runs(0, of=6)
        for each in runs:
            rate = clipped if each["max_grad_norm"] == 0.3 else without
            each["status"] = "DIVERGED" if rng.random() < rate else "COMPLETE"
        wrong += decide_runs(STABLE, runs, queries=60).label == label
    bound = 0.025 if label == "supported" else 0.05
    assert wrong / studies <= bound + 2 * math.sqrt(bound * (1 - bound) / studies)
