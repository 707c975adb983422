"""A sweep, and its expansion into trials."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, FiniteFloat

from sweeper.config.base import FrozenConfig
from sweeper.config.claim import Claim
from sweeper.config.data import DATA_AXES, DataSpec
from sweeper.config.evaluation import EvaluationSpec
from sweeper.config.model import ModelSpec
from sweeper.config.recipe import Recipe
from sweeper.config.resources import BudgetSpec, HardwareSpec
from sweeper.config.runtime import EngineSpec, Runtime
from sweeper.config.search import ConfirmSpec, SearchedAxis, SearchSpec


class Sweep(FrozenConfig):
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
    of values; with `search`, also with a range: `learning_rate: {loguniform: [1e-6, 1e-3]}`."""
    searched: dict[str, SearchedAxis] = Field(default_factory=dict)
    """The axes whose values `search` chooses; in a file they stand under `axes`."""
    search: SearchSpec | None = None
    """How a search looks for the best values of the axes; without it every combination is a trial."""
    confirm: ConfirmSpec | None = None
    """After a search: which finds are trained again, on which seeds."""
    claims: list[Claim] = Field(default_factory=list)
    """Claims of `configs/claims/`, or their fields, decided by the report."""
    branch_epochs: bool = False
    """Train the arms of `num_train_epochs` as branches of the longest: with `warmup_stable_decay` they take the same
    steps as it does until their decay begins, so each goes on from there and trains its decay alone. Off, every arm is
    a run of its own with its own full schedule."""
    accept_underpowered: bool = False
    """Plan it although a claim cannot find the margin it states: a sweep that is only to show how the method works."""
    runtime: dict[str, Runtime] = Field(default_factory=dict)
    """What one trial of a model is given; `default` serves the models not named."""
    budget: BudgetSpec | None = None
    """What the study may spend at most; `null` sets no limit."""
    models: dict[str, ModelSpec]
    """The models of the `model` axis, read from `configs/models/`."""
    engines: dict[str, EngineSpec]
    """The engines named under `runtime`, read from `configs/engines/`."""
    hardware: dict[str, HardwareSpec] = Field(default_factory=dict)
    """The GPUs named under `runtime`, read from `configs/hardware/`."""
    sweeps: list[Sweep] = Field(default_factory=list)
    """Sweeps that this one is the union of, by name in a file: their trials are run as one study, equal ones once.
    `data` and `evaluation` are theirs, `axes` all that any of them varies."""

    @property
    def uses_toy_models(self) -> bool:
        """True where the models are built from scratch: a rehearsal, no evidence about pretrained ones."""
        return all(model.source is None for model in self.models.values())

    @property
    def claim_axes(self) -> dict[str, list[Any]]:
        """The axes that claims are about. After a search an arm is a model as the search found it, on fresh seeds."""
        if self.search is None:
            return self.axes
        return {"model": self.axes["model"], "seed": self.confirm.seeds if self.confirm else []}

    def resolve_runtime(self, model: str) -> Runtime:
        """What a trial of `model` is given."""
        return self.runtime.get(model) or self.runtime.get("default") or Runtime()


class Branch(FrozenConfig):
    """Start of a trial that continues another one, its trunk, instead of training from scratch."""

    trunk: str = Field(min_length=1)
    """Fingerprint of the trial that keeps the checkpoint to continue from."""
    step: int | None = Field(default=None, gt=0)
    """Optimizer step of that checkpoint; `null`: the step at which this trial's own decay begins. A given step only
    saves time: without the checkpoint, the trial is trained from scratch to the same end."""


class TrialSpec(FrozenConfig):
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
    branch: Branch | None = None
    """The trial that it goes on from; None trains it from the start."""
    branch_points: tuple[FiniteFloat, ...] = ()
    """`num_train_epochs` of the arms that go on from it: it keeps a checkpoint where the decay of each begins."""

    def make_recipe_for_epochs(self, epochs: float) -> Recipe:
        """The recipe of an arm that ends after so many epochs."""
        return self.recipe.model_copy(update={"num_train_epochs": epochs})


def expand_sweep(sweep: Sweep) -> list[TrialSpec]:
    """The product of the axes, in the order written (last fastest). Raises pydantic's error on a bad value."""
    return [
        make_trial(sweep, dict(zip(sweep.axes, values, strict=True)))
        for values in itertools.product(*sweep.axes.values())
    ]


def enumerate_combinations(searched: Mapping[str, SearchedAxis]) -> Iterator[dict[str, Any]]:
    """Every combination of listed values, those that `when` leaves without effect once, without the axis."""
    axes = sorted(searched, key=lambda axis: bool(searched[axis].when))  # what others hang on comes first
    seen = set()
    for values in itertools.product(*(searched[axis].choice or () for axis in axes)):
        point = dict(zip(axes, values, strict=True))
        active = {axis: value for axis, value in point.items() if searched[axis].is_active(point)}
        if (key := repr(active)) not in seen:
            seen.add(key)
            yield active


def make_trial(sweep: Sweep, values: Mapping[str, Any]) -> TrialSpec:
    """The trial with these values of axes (model and seed among them). Raises pydantic's error on a bad value."""
    left = dict(values)
    model, seed = left.pop("model"), left.pop("seed")
    of_data = {key: left.pop(key) for key in DATA_AXES if key in left}
    data = DataSpec.model_validate(sweep.data.model_dump() | of_data) if of_data else sweep.data
    recipe = Recipe.model_validate(sweep.recipe.model_dump() | left)
    runtime = sweep.resolve_runtime(model)
    engine = sweep.engines.get(runtime.engine)
    return TrialSpec(model=sweep.models[model], data=data, recipe=recipe, seed=seed, runtime=runtime, engine=engine)
