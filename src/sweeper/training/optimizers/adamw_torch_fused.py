"""AdamW in PyTorch's fused implementation: one kernel, less memory; the same update up to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.training.optimizers.base import Optimizer, read_adam_settings, request_adam_settings

TRAITS = {"state_bytes": 8, "update_bytes": 0}  # two float32 moments; the kernel needs no temporaries


def _recognize(class_name: str, group: Mapping[str, Any]) -> bool:
    return class_name == "AdamW" and bool(group["fused"])


OPTIMIZER = Optimizer("adamw_torch_fused", request_adam_settings, read_adam_settings, _recognize)
