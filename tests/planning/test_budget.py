"""A budget refuses trials before a limit is exceeded, counts earlier runs, and gives the reason."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sweeper.config import BudgetSpec, Runtime, load_hardware_specs
from sweeper.planning.budget import Budget, ResourceUsage, find_exceeded_limits, measure_trial_usage
from sweeper.planning.cost_model import UNKNOWN_COST, ZERO_ESTIMATE, Cost, Estimate


def make_cost(gpu_hours: float = 0.0, cpu_hours: float = 0.0, usd: float = 0.0) -> Cost:
    amounts = [Estimate(value, value, value) for value in (gpu_hours, cpu_hours, usd)]
    return Cost(Estimate(1, 1, 1), ZERO_ESTIMATE, ZERO_ESTIMATE, amounts[0], amounts[1], amounts[2], ZERO_ESTIMATE)


def test_check_limits_counts_running_trials() -> None:
    budget = Budget(BudgetSpec(gpu_hours=10))
    for key in ("a", "b"):
        assert budget.check_limits(make_cost(4))
        budget.record_start(key, make_cost(4))
    assert not budget.check_limits(make_cost(4))
    assert budget.refusal_reason is not None
    assert "budget.gpu_hours: 8 of 10 GPU-hours" in budget.refusal_reason
    assert budget.check_limits(make_cost(2)), "a smaller one still fits"
    budget.record_end("a", ResourceUsage(gpu_hours=1))  # it was faster
    assert budget.usage.gpu_hours == 1
    assert budget.check_limits(make_cost(4))


def test_check_limits_counts_earlier_runs() -> None:
    budget = Budget(BudgetSpec(cpu_hours=2, wall_hours=3), ResourceUsage(cpu_hours=2.0), wall_hours=1)
    assert not budget.check_limits(make_cost(cpu_hours=0.1))
    more = Budget(BudgetSpec(cpu_hours=3, wall_hours=3), ResourceUsage(cpu_hours=2.0), wall_hours=1)
    assert more.check_limits(make_cost(cpu_hours=0.1), elapsed_hours=1.9)
    assert not more.check_limits(make_cost(cpu_hours=0.1), elapsed_hours=2)
    assert more.refusal_reason == "budget.wall_hours: 3 of 3 hours have passed"


def test_check_limits_allows_unknown_cost_until_a_limit_is_reached() -> None:
    budget = Budget(BudgetSpec(gpu_hours=1))
    assert budget.check_limits(None)
    assert budget.check_limits(UNKNOWN_COST)
    budget.record_start("a", UNKNOWN_COST)
    budget.record_end("a", ResourceUsage(gpu_hours=1.5))
    assert not budget.check_limits(None)


def test_check_limits_allows_everything_without_limits() -> None:
    budget = Budget(None)
    budget.record_end("never started", ResourceUsage(1e9, 1e9, math.nan))
    assert budget.check_limits(make_cost(1e9, 1e9, 1e9), elapsed_hours=1e9)
    assert budget.refusal_reason is None


@given(st.lists(st.tuples(st.floats(0.01, 5), st.floats(0.5, 1.0)), max_size=40), st.floats(1, 20))
def test_usage_stays_within_limits_if_estimates_are_upper_bounds(
    trials: list[tuple[float, float]], limit: float
) -> None:
    budget, running = Budget(BudgetSpec(usd=limit)), []
    for number, (predicted, share) in enumerate(trials):
        if budget.check_limits(make_cost(gpu_hours=1, usd=predicted)):
            budget.record_start(str(number), make_cost(gpu_hours=1, usd=predicted))
            running.append((str(number), predicted * share))
        if len(running) > 2:
            key, used = running.pop(0)
            budget.record_end(key, ResourceUsage(usd=used))
        assert budget.committed_usage.usd <= limit * (1 + 1e-9)


def test_measure_trial_usage_multiplies_seconds_by_devices() -> None:
    gpu = load_hardware_specs()["a10g"]
    usage = measure_trial_usage(Runtime(workers=4, gpus=1), 3600, 1800, gpu)
    assert usage.gpu_hours == pytest.approx(4.5)
    assert usage.usd == pytest.approx(4.5 * (gpu.usd_per_hour or 0))
    assert measure_trial_usage(Runtime(cpus=2), 3600, math.nan) == ResourceUsage(cpu_hours=2.0)
    assert math.isnan(measure_trial_usage(Runtime(gpus=1), 3600).usd), "no price, no dollars: not 0"


def test_find_exceeded_limits_names_expected_usage_and_limit() -> None:
    predicted = {"gpu_hours": 428.0, "cpu_hours": 0.0, "usd": math.nan, "wall_hours": 43.5}
    limits = BudgetSpec(gpu_hours=400, usd=10, wall_hours=50)
    assert find_exceeded_limits(limits, predicted) == [
        "budget.gpu_hours: the plan is expected to need 428 GPU-hours, and the limit is 400; fewer trials, or "
        "--set budget.gpu_hours=N"
    ]
    assert find_exceeded_limits(None, predicted) == []


@pytest.mark.parametrize("wrong", [{"gpu_hours": 0}, {"usd": -1}, {"hours": 3}])
def test_budget_spec_refuses_invalid_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BudgetSpec.model_validate(wrong)
