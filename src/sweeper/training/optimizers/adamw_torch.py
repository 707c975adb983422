"""AdamW as PyTorch implements it (Loshchilov & Hutter 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.training.optimizers.base import Optimizer, read_adam_settings, request_adam_settings

TRAITS = {"state_bytes": 8, "update_bytes": 4}  # two float32 moments; square roots of all parameters (`foreach`)


def _recognize(class_name: str, group: Mapping[str, Any]) -> bool:
    return class_name == "AdamW" and not group["fused"]


OPTIMIZER = Optimizer("adamw_torch", request_adam_settings, read_adam_settings, _recognize)
