from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweeper.config import BudgetSpec, HardwareSpec, load_hardware_specs

SPECS = load_hardware_specs()
GPU = SPECS["a10g"].model_dump()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_gib": None}, "a GPU needs `memory_gib`"),
        ({"utilisation": {"low": 0.2, "expected": 0.5, "high": 1.2}}, "a share of the peak"),
        ({"utilisation": {"low": 0.0, "expected": 0.5, "high": 0.9}}, "a share of the peak"),
        ({"price_date": None}, "a price has a date"),
        ({"tflops": {"int8": 1}}, "tflops"),
    ],
)
def test_incomplete_hardware_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HardwareSpec.model_validate(GPU | change)


def test_shipped_hardware_is_named_after_its_file() -> None:
    assert all(name == spec.name for name, spec in SPECS.items())
    assert {spec.kind for spec in SPECS.values()} == {"gpu", "cpu"}


@pytest.mark.parametrize("limit", BudgetSpec.model_fields)
def test_limit_of_a_budget_is_positive(limit: str) -> None:
    assert getattr(BudgetSpec.model_validate({limit: 0.5}), limit) == 0.5
    with pytest.raises(ValidationError, match=limit):
        BudgetSpec.model_validate({limit: 0})
