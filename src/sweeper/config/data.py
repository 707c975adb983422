"""Training data, one file of `configs/data/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, field_validator

from sweeper.config.base import MAX_COUNT, MAX_NUMBER, Choice, FrozenConfig
from sweeper.errors import UsageError
from sweeper.registry import Registry
from sweeper.toolworld import WorldConfig

LengthPolicyName = Annotated[str, Choice(Registry("length policy", "data/length_policies", "POLICY"))]
ApiFormatName = Annotated[str, Choice(Registry("API format", "data/api_formats", "API_FORMAT"))]

DATA_AXES = ("fit", "max_length")
"""Fields of the data that a sweep can vary, besides those of the recipe."""


class AssumedSize(FrozenConfig):
    """Size of a data set as assumed by cost estimates until the data are prepared. Never part of an identity."""

    examples: int | None = Field(default=None, gt=0, le=MAX_COUNT)
    """Training rows; `null`: the training queries of the synthetic tool environment."""
    mean_tokens: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """Mean tokens of a row, at most `max_length`; `null`: every row has `max_length` tokens, so costs are upper
    bounds."""


class DataSpec(FrozenConfig):
    """Which examples a trial trains on and how they become tokens. Every field is part of a trial's identity."""

    name: str = Field(min_length=1)
    """Name shown in reports."""
    source: Literal["toolworld", "toolbench"]
    """`toolworld` is generated; `toolbench` is read from `path`."""
    path: str | None = None
    """ToolBench training data: a folder of answers, ToolLLaMA's released file (or the folder of its train and eval
    files), or a Hugging Face dataset by folder or hub id."""
    toolworld: dict[str, Any] = Field(default_factory=dict)
    """Settings of the synthetic tool environment: seed, numbers of queries."""
    api_format: ApiFormatName
    """How APIs are listed in the system message: ToolBench's Python text, or one `name(arg: type)` line each."""
    fold_steps: bool
    """Where the steps of an answer are prefixes of one another, train them as one row with the loss on each step."""
    max_length: int = Field(gt=0, le=MAX_COUNT)
    """Longest row, tokens; at most the model's positions."""
    fit: LengthPolicyName = "strict"
    """Length policy, for examples longer than `max_length`. `strict` drops them. `keep-target` cuts the middle of the
    prompt. `compact-apis` shortens the API list: example values, then descriptions, then unused APIs. `truncate` cuts
    the end off, target included, as TRL does. All are counted."""
    extend_positions: Literal["interpolate"] | None = None
    """Stretch the model's table of learned positions to `max_length` by linear interpolation."""
    validation_fraction: FiniteFloat = Field(default=0.1, gt=0, lt=1)
    """Share of queries held out for the validation loss (toolworld has its own split)."""
    vocab_size: int = Field(default=512, ge=300, le=MAX_COUNT)
    """Vocabulary of the tokenizer trained on the corpus, for models built from a config."""
    assumed: AssumedSize | None = None
    """Size assumed by `sweeper plan` to estimate costs before the data are prepared."""

    @field_validator("toolworld")
    @classmethod
    def _check_world_settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            WorldConfig.from_mapping(value)
        except UsageError as error:
            found = ", ".join(text for text in (error.requested, error.found) if text)
            raise ValueError(f"{found}; {error.hint}") from error
        return value
