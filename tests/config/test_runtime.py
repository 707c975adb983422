"""Engines that contradict themselves are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sweeper.config import EngineSpec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"zero_stage": 2}, "distributed"),
        ({"distributed": True, "zero_stage": 2, "offload": True}, "zero_stage: 3"),
        ({"distributed": True, "zero_stage": 1}, "zero_stage"),
    ],
)
def test_invalid_engines_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EngineSpec(name="invalid", **fields)
