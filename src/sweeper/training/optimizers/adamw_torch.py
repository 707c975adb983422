"""AdamW as PyTorch implements it (Loshchilov & Hutter 2019)."""

from __future__ import annotations

from sweeper.training.optimizers.base import Optimizer, read_adam_settings, request_adam_settings

OPTIMIZER = Optimizer("adamw_torch", request_adam_settings, read_adam_settings)
