"""A sweep, and its expansion into trials."""

from __future__ import annotations

import itertools
from typing import Any

from pydantic import Field

from sweeper.spec.parts import (
    Claim,
    DataSpec,
    EngineSpec,
    EvaluationSpec,
    HardwareSpec,
    ModelSpec,
    Part,
    Recipe,
    Runtime,
)

DATA_AXES = ("fit", "max_length")
"""Fields of the data that can be varied, besides those of the recipe."""


class Sweep(Part):
    """A question, fully resolved: every named piece has been read from its file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the study, and of its folder in the store."""
    question: str = Field(min_length=1)
    """What is asked, in one sentence."""
    recipe: Recipe
    """A recipe of `configs/recipes/`, or its fields."""
    data: DataSpec
    """A data set of `configs/data/`, or its fields."""
    evaluation: EvaluationSpec | None = None
    """An evaluation of `configs/evaluation/`, or its fields; `null` records the validation loss only."""
    axes: dict[str, list[Any]]
    """What is varied: `model`, `seed`, any field of the recipe, and the data's `fit` and `max_length`, each with a list
    of values."""
    claims: list[Claim] = Field(default_factory=list)
    """Claims of `configs/claims/`, or their fields, decided by the report."""
    accept_underpowered: bool = False
    """Plan it although a claim cannot find the margin it states: a sweep that is only to show how the method works."""
    runtime: dict[str, Runtime] = Field(default_factory=dict)
    """What one trial of a model is given; `default` serves the models not named."""
    models: dict[str, ModelSpec]
    """The models of the `model` axis, read from `configs/models/`."""
    engines: dict[str, EngineSpec]
    """The engines named under `runtime`, read from `configs/engines/`."""
    hardware: dict[str, HardwareSpec] = Field(default_factory=dict)
    """The GPUs named under `runtime`, read from `configs/hardware/`."""

    @property
    def miniature(self) -> bool:
        """True where the models are built from scratch: a rehearsal, no evidence about pretrained ones."""
        return all(model.source is None for model in self.models.values())

    def runtime_of(self, model: str) -> Runtime:
        """What a trial of `model` is given."""
        return self.runtime.get(model) or self.runtime.get("default") or Runtime()


class TrialSpec(Part):
    """One fully resolved training run."""

    model: ModelSpec
    """The model trained."""
    data: DataSpec
    """What it is trained on."""
    recipe: Recipe
    """Its hyperparameters, axes applied."""
    seed: int = Field(ge=0, lt=2**32, strict=True)
    """Seed of initial weights (where built), data order and dropout."""
    runtime: Runtime
    """What it is given."""
    engine: EngineSpec | None = None
    """How its workers share it; None where `engine: auto` has not chosen yet."""


def expand(sweep: Sweep) -> list[TrialSpec]:
    """The product of the axes, in the order written (last fastest). Raises pydantic's error on a bad value."""
    trials = []
    for values in itertools.product(*sweep.axes.values()):
        cell = dict(zip(sweep.axes, values, strict=True))
        model, seed = cell.pop("model"), cell.pop("seed")
        of_data = {key: cell.pop(key) for key in DATA_AXES if key in cell}
        data = DataSpec.model_validate(sweep.data.model_dump() | of_data) if of_data else sweep.data
        recipe = Recipe.model_validate(sweep.recipe.model_dump() | cell)
        runtime = sweep.runtime_of(model)
        engine = sweep.engines.get(runtime.engine)
        trials.append(
            TrialSpec(model=sweep.models[model], data=data, recipe=recipe, seed=seed, runtime=runtime, engine=engine)
        )
    return trials
