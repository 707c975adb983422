"""The search of a sweep: its axes, algorithm, scheduler and metric, and how the best trials are confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, assert_never, get_args

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator, model_validator

from sweeper.config.base import Choice, FrozenConfig
from sweeper.registry import Registry

Direction = Literal["minimize", "maximize"]
AxisKind = Literal["uniform", "loguniform", "int_uniform", "int_loguniform", "choice"]

METRIC_DIRECTIONS: dict[str, Direction] = {
    "val_loss": "minimize",
    "best_val_loss": "minimize",
    "train_flops": "minimize",
    "train_seconds": "minimize",
    "tokens": "minimize",
    "parameters": "minimize",
    "val_pass_rate": "maximize",
}
"""Metrics that a search can optimize: measured on validation data, or a cost. Only the report uses test suites."""
QUALITY_METRICS = ("val_loss", "best_val_loss", "val_pass_rate")
"""The metrics that measure a model. The others are costs, of which the lowest is a model that learns nothing."""

ALGORITHMS: Registry[object] = Registry("algorithm", "search/samplers", "make_sampler")
SCHEDULERS: Registry[object] = Registry("scheduler", "search/pruners", "make_pruner")


class AlgorithmTraits(FrozenConfig):
    """What a sweep file is validated with: the constant `TRAITS` of an algorithm's file in `search/samplers`."""

    options: dict[str, Literal["integer", "number", "boolean"]] = Field(default_factory=dict)
    """Arguments of Optuna's sampler that a sweep can set (`search.sampler`), and their types."""
    startup: tuple[str, int] | None = None
    """The option with the number of trials that are drawn at random first, and Optuna's default for it."""
    metric_counts: tuple[int, ...] = (1,)
    """Numbers of metrics it can optimize together."""
    is_grid: bool = False
    """It proposes every combination of listed values, and so has its own number of trials."""
    needs_numeric_axes: bool = False
    """It needs at least two axes, all of them numbers on a scale."""


class SchedulerTraits(FrozenConfig):
    """The constant `TRAITS` of a scheduler's file in `search/pruners`."""

    rung_spacing: Literal["geometric", "equal"] | None
    """Rungs at `first` times powers of `reduction_factor`, or at multiples of `first`; None for no rungs."""


def read_algorithm_traits(algorithm: str) -> AlgorithmTraits:
    """Read the traits of an algorithm without importing its file."""
    return AlgorithmTraits.model_validate(ALGORITHMS.read_literal(algorithm, "TRAITS"))


def read_scheduler_traits(scheduler: str) -> SchedulerTraits:
    """Read the traits of a scheduler without importing its file."""
    return SchedulerTraits.model_validate(SCHEDULERS.read_literal(scheduler, "TRAITS"))


_AXIS_KINDS: tuple[AxisKind, ...] = get_args(AxisKind)


class SearchedAxis(FrozenConfig):
    """An axis whose values a search chooses. Exactly one of the first five fields is set."""

    uniform: tuple[FiniteFloat, FiniteFloat] | None = None
    """A number between these two."""
    loguniform: tuple[FiniteFloat, FiniteFloat] | None = None
    """A number between these two (above 0), uniform in its logarithm."""
    int_uniform: tuple[int, int] | None = None
    """A whole number from the first to the second, both included."""
    int_loguniform: tuple[int, int] | None = None
    """A whole number from the first to the second, uniform in its logarithm."""
    choice: list[Any] | None = None
    """One of these values. A plain list under `axes` means the same."""
    or_null: bool = False
    """The axis can also be switched off (`null`). Whether it is on is a choice of its own."""
    when: dict[str, list[Any]] = Field(default_factory=dict)
    """The axis is searched only where these other searched axes have one of these values. Elsewhere the recipe's value
    holds."""

    @model_validator(mode="after")
    def _check_single_distribution(self) -> SearchedAxis:
        given = [kind for kind in _AXIS_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(_AXIS_KINDS)}; found {', '.join(given) or 'none'}")
        if self.choice is not None:
            if not self.choice:
                raise ValueError("`choice` without values")
            if self.or_null:
                raise ValueError("`or_null` with `choice`: write null among its values")
            return self
        low, high = getattr(self, given[0])
        if not low < high:
            raise ValueError(f"`{given[0]}: [{low:g}, {high:g}]`: the first should be below the second")
        if "log" in given[0] and low <= 0:
            raise ValueError(f"`{given[0]}` from {low:g}: a logarithm needs values above 0")
        return self

    @property
    def kind(self) -> AxisKind:
        """The kind of its distribution."""
        return next(kind for kind in _AXIS_KINDS if getattr(self, kind) is not None)

    @property
    def is_numeric(self) -> bool:
        """Whether every value is a number on a scale."""
        return self.choice is None and not self.or_null

    def is_active(self, values: Mapping[str, object]) -> bool:
        """Return whether the axis is searched where other axes have these values."""
        return all(values.get(other) in wanted for other, wanted in self.when.items())

    def contains_value(self, value: object) -> bool:
        """Return whether a search can propose the value."""
        if self.choice is not None:
            return value in self.choice
        if value is None:
            return self.or_null
        low, high = self.bounds
        return isinstance(value, int | float) and low <= value <= high and (not self.is_integer or value == int(value))

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value of a range.

        Raises:
            ValueError: the axis is a list of values.
        """
        bounds = self.uniform or self.loguniform or self.int_uniform or self.int_loguniform
        if bounds is None:
            raise ValueError("a list of values has no bounds")
        return bounds

    @property
    def is_integer(self) -> bool:
        """Whether the values of its range are whole numbers."""
        return self.int_uniform is not None or self.int_loguniform is not None


class Rungs(FrozenConfig):
    """The points of training at which trials are compared."""

    unit: Literal["steps", "tokens", "epochs"] = "steps"
    """Unit of a rung: optimizer steps, tokens trained on, or epochs."""
    first: int = Field(gt=0)
    """The first rung, which is the shortest training of a trial that is stopped."""
    reduction_factor: int = Field(default=3, ge=2)
    """`asha` and `hyperband`: about one trial in this many goes on to the next rung, which is this many times further.
    No effect with `median` and `pbt`, whose rungs are multiples of the first."""


class PbtConfig(FrozenConfig):
    """Population based training (Jaderberg et al. 2017, arXiv 1711.09846): at a rung the worst members are replaced by
    perturbed continuations of the best. The factors are those of the paper. The other defaults, except `population`,
    are those of Ray Tune's PopulationBasedTraining."""

    population: int = Field(default=8, ge=2)
    """Members of the initial population, including the baseline (per model with `equal_per: model`)."""
    quantile: FiniteFloat = Field(default=0.25, gt=0, le=0.5)
    """Share of the members at a rung that counts as the worst, and as the best."""
    resample_probability: FiniteFloat = Field(default=0.25, ge=0, le=1)
    """Probability that a value is drawn anew from its axis instead of perturbed."""
    factors: tuple[FiniteFloat, ...] = Field(default=(0.8, 1.2), min_length=1)
    """A perturbed value is multiplied by one of these at random. A value of a list moves by one place instead."""

    @model_validator(mode="after")
    def _check_quantile_and_factors(self) -> PbtConfig:
        if self.count_quantile(self.population) < 1:
            raise ValueError(f"`quantile: {self.quantile:g}` of `population: {self.population}` selects no member")
        if wrong := [factor for factor in self.factors if factor <= 0 or factor == 1]:
            raise ValueError(f"`factors`: {wrong[0]:g}; a factor is above 0 and not 1")
        return self

    def count_quantile(self, member_count: int) -> int:
        """Return how many of the members at a rung count as the worst, and as the best. Rounded down."""
        return int(member_count * self.quantile + 1e-9)


class SearchSpec(FrozenConfig):
    """How a search proposes, compares and stops trials."""

    algorithm: Annotated[str, Choice(ALGORITHMS)] = "tpe"
    """`grid`: every combination; `random`; `tpe`, `gp`, `cma-es`: Optuna's samplers; `nsga2`: for two metrics. One file
    each in `search/samplers`."""
    trials: int | None = Field(default=None, gt=0)
    """Number of trials of all models together, including baselines and trials that are stopped early. `grid` has its
    own number. With `scheduler: pbt` it is the maximum, and includes the initial population."""
    metric: str | list[str] = "val_loss"
    """The metric to optimize, or two with `nsga2`, `tpe` or `random`: val_loss, best_val_loss (lower is better),
    val_pass_rate (higher; the agent on validation queries), train_flops, train_seconds, tokens, parameters (lower)."""
    sampler: dict[str, bool | int | float] = Field(default_factory=dict)
    """Arguments of Optuna's sampler. By default `tpe` has multivariate and constant_liar set; all others are Optuna's
    defaults."""
    scheduler: Annotated[str, Choice(SCHEDULERS)] = "none"
    """Which trials are stopped early: `none`, or by validation loss at the rungs: `asha` (asynchronous successive
    halving), `hyperband`, or `median` (worse than the median of the others). `pbt` (population based training) replaces
    the worst at a rung by continuations of the best with another learning rate, clipping or weight decay. One file each
    in `search/pruners`."""
    rungs: Rungs | None = None
    """For schedulers: where trials are compared."""
    pbt: PbtConfig | None = None
    """For `scheduler: pbt`. `null` means the defaults."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the proposals. Each has a random stream of its own, so that a resumed search draws the same."""
    anchor: bool = True
    """Propose the recipe as it stands first (for every model): the baseline. No scheduler stops it."""
    equal_per: Literal["model"] | None = None
    """`model`: a search for each model, each with the same number of trials."""
    max_concurrent: int | None = Field(default=None, gt=0)
    """Maximum number of trials at once. With fewer, each proposal is based on more results. `null`: as many as fit."""
    storage: str | None = None
    """Database URL of Optuna's storage, such as `sqlite:///search.db`. `null`: a journal file in the study's folder.
    `optuna-dashboard` opens both."""

    @property
    def metrics(self) -> list[str]:
        """The metrics as a list."""
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)

    @property
    def traits(self) -> AlgorithmTraits:
        """What the algorithm declares about itself."""
        return read_algorithm_traits(self.algorithm)

    @property
    def pbt_config(self) -> PbtConfig | None:
        """The settings of population based training; None with any other scheduler."""
        return (self.pbt or PbtConfig()) if self.scheduler == "pbt" else None

    @property
    def directions(self) -> list[Direction]:
        """Direction of each metric."""
        return [METRIC_DIRECTIONS[metric] for metric in self.metrics]

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, value: str | list[str]) -> str | list[str]:
        names = [value] if isinstance(value, str) else value
        for name in names:
            if name not in METRIC_DIRECTIONS:
                problem = "a test metric, which a search must not use" if "pass_rate" in name else "not a metric"
                raise ValueError(f"`{name}` is {problem}; choose from {', '.join(METRIC_DIRECTIONS)}")
        if not isinstance(value, str) and (len(names) != 2 or len(set(names)) != 2):
            raise ValueError("give one metric, or a list of two different ones")
        if not set(QUALITY_METRICS) & set(names):
            what = f"`{value}` alone is a cost" if isinstance(value, str) else f"{' and '.join(names)} are costs alone"
            raise ValueError(f"{what}: the cheapest trial would be one that learns nothing")
        return value

    @field_validator("sampler", mode="before")
    @classmethod
    def _check_sampler_options(cls, value: object, info: ValidationInfo) -> object:
        if "algorithm" not in info.data or not isinstance(value, Mapping):
            return value
        options = read_algorithm_traits(info.data["algorithm"]).options
        if unknown := sorted(set(value) - set(options)):
            known = ", ".join(options) or "no options"
            raise ValueError(
                f"`algorithm: {info.data['algorithm']}` has no option {', '.join(unknown)}; it has {known}"
            )
        for option, given in value.items():
            _check_option(option, options[option], given)
        return value

    @field_validator("storage")
    @classmethod
    def _check_storage_url(cls, value: str | None) -> str | None:
        if value is not None:
            scheme, found, rest = value.partition("://")
            if not found or not scheme:
                raise ValueError("not a database URL; for example sqlite:///search.db")
            if ":" in rest.rpartition("@")[0].partition("/")[0]:
                raise ValueError("the URL contains a password, and sweeps are stored; use the driver's password file")
        return value

    @model_validator(mode="after")
    def _check_combination(self) -> SearchSpec:
        traits, count = self.traits, len(self.metrics)
        if count not in traits.metric_counts:
            able = [name for name in ALGORITHMS.names if count in read_algorithm_traits(name).metric_counts]
            raise ValueError(
                f"`algorithm: {self.algorithm}` with {_count_metrics(count)}; choose from {', '.join(able)}"
            )
        if not traits.is_grid and self.trials is None:
            raise ValueError(f"`algorithm: {self.algorithm}` needs `trials`, the number of proposals")
        has_rungs = read_scheduler_traits(self.scheduler).rung_spacing is not None
        if has_rungs and self.rungs is None:
            raise ValueError(f"`scheduler: {self.scheduler}` needs `rungs`, such as {{unit: steps, first: 100}}")
        if not has_rungs and self.rungs is not None:
            raise ValueError("`rungs` without a scheduler have no effect")
        if count == 2 and has_rungs:
            raise ValueError(f"`scheduler: {self.scheduler}` compares by one metric, and there are two")
        self._check_pbt()
        if traits.startup is not None:
            option, default = traits.startup
            first = self.sampler.get(option, default)
            if self.trials is not None and self.trials <= first:
                raise ValueError(
                    f"`trials: {self.trials}` with {option} {first}: `{self.algorithm}` would draw all of them at "
                    f"random; more trials, or sampler: {{{option}: …}}"
                )
        return self

    def _check_pbt(self) -> None:
        if self.pbt_config is None:
            if self.pbt is not None:
                raise ValueError(f"`pbt` with `scheduler: {self.scheduler}` has no effect")
            return
        if self.algorithm != "random":
            raise ValueError(
                f"`algorithm: {self.algorithm}` with `scheduler: pbt`: the initial population is drawn at random; "
                "algorithm: random"
            )
        if self.rungs and self.rungs.unit != "steps":
            raise ValueError(
                f"`scheduler: pbt` with rungs in {self.rungs.unit}: a recipe changes at optimizer steps; unit: steps"
            )
        if self.trials is not None and self.trials < self.pbt_config.population:
            raise ValueError(
                f"`trials: {self.trials}` for a population of {self.pbt_config.population}: members that continue from "
                "others count too"
            )


def _check_option(option: str, kind: Literal["integer", "number", "boolean"], value: object) -> None:
    match kind:
        case "boolean":
            if not isinstance(value, bool):
                raise ValueError(f"`{option}` should be true or false")
        case "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"`{option}` should be a whole number")
            if value < 1:
                raise ValueError(f"`{option}` should be above 0")
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"`{option}` should be a number")
        case _:
            assert_never(kind)


def _count_metrics(count: int) -> str:
    return "one metric" if count == 1 else f"{count} metrics"


class ConfirmSpec(FrozenConfig):
    """Train the best trials again on fresh seeds, to the end. Only these trials enter a claim."""

    top: int = Field(default=1, gt=0)
    """Number of the best explored trials to confirm (of each model with `equal_per: model`), besides the baseline."""
    seeds: list[int] = Field(min_length=1)
    """Seeds to confirm on, other than the seed that was explored with."""
