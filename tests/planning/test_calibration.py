"""Calibration on finished trials: exact fits, nearest models, ranges that shrink."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from sweeper.planning.calibration import (
    FEW_TRIALS_FACTOR,
    MIN_SPREAD_FACTOR,
    OTHER_MODEL_FACTOR,
    HardwareRates,
    TimingRatio,
    TimingRecord,
    compute_timing_ratios,
    estimate_calibration_factor,
    fit_rates,
)

TRUTH = HardwareRates(step_seconds=0.02, flop_seconds=4e-11)
PRIOR = HardwareRates(1.0, 1.0)


def make_record(steps: float, flops: float, seconds: float | None = None, model: str = "m") -> TimingRecord:
    record = TimingRecord(model, 1000, "cpu", "fp32", 1, steps, flops, 0.0)
    return dataclasses.replace(record, train_seconds=TRUTH.predict_seconds(record) if seconds is None else seconds)


def test_fit_rates_separates_step_overhead_from_flops() -> None:
    rows = [make_record(300, 8e10), make_record(300, 2.4e11), make_record(300, 4.6e11), make_record(900, 2.4e11)]
    rates = fit_rates(rows, PRIOR)
    assert rates.step_seconds == pytest.approx(0.02)
    assert rates.flop_seconds == pytest.approx(4e-11)
    assert all(ratio.ratio == pytest.approx(1) for ratio in compute_timing_ratios(rows, rates))


def test_fit_rates_returns_the_prior_for_equal_flops_per_step() -> None:
    assert fit_rates([make_record(300, 8e10), make_record(900, 24e10)], PRIOR) == PRIOR
    assert fit_rates([], PRIOR) == PRIOR


def test_fit_rates_is_never_negative() -> None:
    slow_small = [make_record(100, 1e10, 30.0), make_record(100, 1e12, 10.0)]
    assert fit_rates(slow_small, PRIOR).flop_seconds == 0
    assert fit_rates(slow_small, PRIOR).step_seconds > 0
    no_overhead = [make_record(100, 1e10, 0.1), make_record(100, 1e12, 30.0)]
    assert fit_rates(no_overhead, PRIOR).step_seconds == 0


def test_calibration_factor_is_the_geometric_mean_with_a_range() -> None:
    two = estimate_calibration_factor("m", 1000, [TimingRatio("m", 1000, 0.5), TimingRatio("m", 1000, 2.0)])
    assert two is not None
    assert (two.expected, two.high, two.trials) == (pytest.approx(1), pytest.approx(FEW_TRIALS_FACTOR), 2)
    noise = random.Random(0)
    many = [TimingRatio("m", 1000, 1.5 * math.exp(noise.gauss(0, 0.06))) for _ in range(40)]
    factor, exact = (
        estimate_calibration_factor("m", 1000, many),
        estimate_calibration_factor("m", 1000, [TimingRatio("m", 1000, 1.5)] * 3),
    )
    assert factor is not None
    assert exact is not None
    assert factor.expected == pytest.approx(1.5, rel=0.05)
    assert 1.09 < factor.high / factor.expected < FEW_TRIALS_FACTOR
    assert exact.high / exact.expected == pytest.approx(MIN_SPREAD_FACTOR), "three equal ratios do not mean certainty"


def test_calibration_factor_prefers_trials_with_the_same_work() -> None:
    ratios = [
        TimingRatio("m", 1000, 4.0, flops=1e9),
        TimingRatio("m", 1000, 1.0, flops=1e12),
        TimingRatio("m", 1000, 1.0, flops=1e12),
    ]
    alike, between = (
        estimate_calibration_factor("m", 1000, ratios, flops=1.05e9),
        estimate_calibration_factor("m", 1000, ratios, flops=1e10),
    )
    assert alike is not None
    assert between is not None
    assert (alike.expected, alike.trials) == (pytest.approx(4), 1)
    assert (between.expected, between.trials) == (pytest.approx(4 ** (1 / 3)), 3)


def test_calibration_factor_of_another_model_has_a_wider_range() -> None:
    ratios = [TimingRatio("small", 1_000, 3.0), TimingRatio("large", 100_000, 2.0)]
    factor = estimate_calibration_factor("middle", 50_000, ratios)
    assert factor is not None
    assert (factor.model, factor.expected) == ("large", pytest.approx(2))
    assert factor.high / factor.expected == pytest.approx(OTHER_MODEL_FACTOR)
    assert estimate_calibration_factor("middle", 50_000, []) is None
    assert estimate_calibration_factor("middle", None, ratios) is None


def test_calibration_range_covers_the_next_trial() -> None:
    noise, held = random.Random(1), 0
    for _ in range(400):
        drawn = [math.exp(noise.gauss(0, 0.2)) for _ in range(9)]
        factor = estimate_calibration_factor("m", 1, [TimingRatio("m", 1, ratio) for ratio in drawn[:8]])
        assert factor is not None
        held += factor.low <= drawn[8] <= factor.high
    assert 0.88 < held / 400 < 0.98
