"""A sweep, and its expansion into trials."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

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
from sweeper.errors import ConfigError

MAX_TRIALS = 1_000_000
"""Of a sweep, all combinations of its axes. More is a slip of the pen, and would fill the memory."""
AxisValue: TypeAlias = Any
"""A value of an axis: a model's name, a seed, or what the recipe's or data's field of that name takes, such as 5e-5,
`strict` or None (clipping off). The field checks it when the trial is made."""


class Sweep(FrozenConfig):
    """A question, fully resolved: every named configuration has been read from its file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the study, and of its folder in the store."""
    question: str = Field(min_length=1)
    """The question, in one sentence."""
    recipe: Recipe
    """A recipe of `configs/recipes/`, or its fields."""
    data: DataSpec
    """A data set of `configs/data/`, or its fields."""
    evaluation: EvaluationSpec | None = None
    """An evaluation of `configs/evaluation/`, or its fields; `null` records the validation loss only."""
    axes: dict[str, list[AxisValue]]
    """What varies: `model`, `seed`, any field of the recipe, and the data's `fit` and `max_length`, each with a list of
    values; with `search`, also with a range: `learning_rate: {loguniform: [1e-6, 1e-3]}`."""
    searched: dict[str, SearchedAxis] = Field(default_factory=dict)
    """The axes whose values `search` chooses; in a file they are under `axes`."""
    search: SearchSpec | None = None
    """Search for the best values of the axes; without it, every combination is a trial."""
    confirm: ConfirmSpec | None = None
    """After a search: how many of the best trials are trained again, and on which seeds."""
    claims: list[Claim] = Field(default_factory=list)
    """Claims of `configs/claims/`, or their fields; the report decides them."""
    until: Literal["complete", "decided"] = "complete"
    """What ends the study. `complete`: every trial has ended. `decided`: only the seeds that open claims need for their
    next look (`looks`) are trained, until all claims are decided or have had their last look. Without looks, all."""
    branch_epochs: bool = False
    """Train the arms of `num_train_epochs` as branches of the longest. With `warmup_stable_decay` they take the same
    steps as it does until their decay begins, so each continues from there and trains only its decay. Off: every arm is
    a run of its own with its own full schedule."""
    accept_underpowered: bool = False
    """Plan the sweep although a claim cannot detect its margin: for sweeps that only show how the method works."""
    runtime: dict[str, Runtime] = Field(default_factory=dict)
    """Resources of one trial, by model; `default` is for models that are not named."""
    budget: BudgetSpec | None = None
    """Limits of the study; `null` sets none."""
    models: dict[str, ModelSpec]
    """The models of the `model` axis, read from `configs/models/`."""
    engines: dict[str, EngineSpec]
    """The engines of `runtime`, read from `configs/engines/`."""
    hardware: dict[str, HardwareSpec] = Field(default_factory=dict)
    """The GPUs of `runtime`, read from `configs/hardware/`."""
    sweeps: list[Sweep] = Field(default_factory=list)
    """Sweeps that this one combines, by name in a file: their trials run as one study, equal ones once. `data` and
    `evaluation` are theirs, and `axes` has everything that varies in any of them."""

    @property
    def uses_toy_models(self) -> bool:
        """Whether all models are built from scratch: a smoke test, no evidence about pretrained models."""
        return all(model.source is None for model in self.models.values())

    @property
    def claim_axes(self) -> dict[str, list[AxisValue]]:
        """Axes of claims. After a search, an arm is a model with the best values found for it, on the fresh seeds."""
        if self.search is None:
            return self.axes
        return {"model": self.axes["model"], "seed": self.confirm.seeds if self.confirm else []}

    def resolve_runtime(self, model: str) -> Runtime:
        """Return the resources of a trial of a model."""
        return resolve_runtime(self.runtime, model)

    def resolve_engine(self, runtime: Runtime) -> EngineSpec | None:
        """Return the engine of a trial; None for `engine: auto`, which planning replaces.

        Raises:
            ConfigError: the sweep has no such engine.
        """
        if runtime.engine == "auto":
            return None
        if runtime.engine not in self.engines:
            found = f"`engines` of the sweep has {', '.join(self.engines) or 'none'}"
            raise ConfigError(f"sweep {self.name}", requested=f"engine: {runtime.engine}", found=found)
        return self.engines[runtime.engine]


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
    """Model to train."""
    data: DataSpec
    """Training data."""
    recipe: Recipe
    """Hyperparameters, values of the axes included."""
    seed: int = Field(ge=0, lt=2**32, strict=True)
    """Seed of initial weights (of models built from scratch), data order and dropout."""
    runtime: Runtime
    """Resources."""
    engine: EngineSpec | None = None
    """How its workers share the model; None until planning has replaced `engine: auto`."""
    branch: Branch | None = None
    """The trial that it continues; None trains it from scratch."""
    branch_points: tuple[FiniteFloat, ...] = ()
    """`num_train_epochs` of the arms that continue it: it keeps a checkpoint where the decay of each begins."""

    @property
    def holds_half_weights(self) -> bool:
        """Whether the model's weights are in half precision: ZeRO's are, beside float32 masters in the optimizer.

        Other engines hold float32 weights, of which autocast rounds a copy for each product.
        """
        return self.recipe.precision != "fp32" and self.engine is not None and self.engine.zero_stage > 0

    def make_recipe_for_epochs(self, epochs: float) -> Recipe:
        """Return the recipe of the arm that ends after this many epochs."""
        return self.recipe.model_copy(update={"num_train_epochs": epochs})


def resolve_runtime(runtimes: Mapping[str, Runtime], model: str) -> Runtime:
    """Return a model's own entry, else `default`, else the defaults of `Runtime`."""
    return runtimes.get(model) or runtimes.get("default") or Runtime()


def expand_sweep(sweep: Sweep) -> list[TrialSpec]:
    """Make the trials of all combinations of the axes, in the order written; the last axis varies fastest.

    Raises:
        pydantic.ValidationError: an invalid value of an axis.
    """
    return [
        make_trial(sweep, dict(zip(sweep.axes, values, strict=True)))
        for values in itertools.product(*sweep.axes.values())
    ]


def enumerate_combinations(searched: Mapping[str, SearchedAxis]) -> Iterator[dict[str, AxisValue]]:
    """Yield every combination of listed values; axes that `when` deactivates are left out, and repetitions too."""
    axes = sorted(searched, key=lambda axis: bool(searched[axis].when))  # conditions refer to axes before them
    seen = set()
    for values in itertools.product(*(searched[axis].choice or () for axis in axes)):
        point = dict(zip(axes, values, strict=True))
        active = {axis: value for axis, value in point.items() if searched[axis].is_active(point)}
        if (key := repr(active)) not in seen:
            seen.add(key)
            yield active


def make_trial(sweep: Sweep, values: Mapping[str, AxisValue]) -> TrialSpec:
    """Make the trial at one point of the axes.

    Args:
        sweep: the sweep, for everything that does not vary.
        values: value of each axis, model and seed among them.

    Raises:
        pydantic.ValidationError: an invalid value.
    """
    fields = {axis: value for axis, value in values.items() if axis not in ("model", "seed")}
    data_fields = {axis: fields.pop(axis) for axis in DATA_AXES if axis in fields}
    data = DataSpec.model_validate(sweep.data.model_dump() | data_fields) if data_fields else sweep.data
    recipe = Recipe.model_validate(sweep.recipe.model_dump() | fields)
    model, runtime = sweep.models[values["model"]], sweep.resolve_runtime(values["model"])
    engine = sweep.resolve_engine(runtime)
    return TrialSpec(model=model, data=data, recipe=recipe, seed=values["seed"], runtime=runtime, engine=engine)


def get_axis_value(spec: TrialSpec, axis: str) -> AxisValue:
    """Return the value of a trial on an axis.

    Args:
        spec: the trial.
        axis: `model`, `seed`, or a field of the recipe or the data.
    """
    match axis:
        case "model":
            return spec.model.name
        case "seed":
            return spec.seed
    value: AxisValue = getattr(spec.data if axis in DATA_AXES else spec.recipe, axis)
    return value
