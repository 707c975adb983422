"""A model of the `model` axis, one file of `configs/models/`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from sweeper.config.base import FrozenConfig


class ModelSpec(FrozenConfig):
    """A causal language model: pretrained (`source`), or built from a config with random weights (`config`)."""

    name: str = Field(min_length=1)
    """Name on the `model` axis."""
    source: str | None = None
    """Hub id or local folder of a pretrained causal language model."""
    config: dict[str, Any] | None = None
    """Fields of `OPTConfig` (with `model_type: gpt_neox`, of `GPTNeoXConfig`) for a model built from scratch. Its
    vocabulary is that of the tokenizer trained on the data."""

    @model_validator(mode="after")
    def _check_single_origin(self) -> ModelSpec:
        if (self.source is None) == (self.config is None):
            raise ValueError("give exactly one of `source` (pretrained) and `config` (built from scratch)")
        return self
