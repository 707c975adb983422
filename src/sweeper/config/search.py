"""What a search may vary, how it looks, what it measures by, and how its finds are confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator, model_validator

from sweeper.config.base import FrozenConfig

Algorithm = Literal["grid", "random", "tpe", "gp", "cma-es", "nsga2"]
Scheduler = Literal["none", "asha", "hyperband", "median", "pbt"]

MINIMIZED_METRICS = ("val_loss", "best_val_loss", "train_flops", "train_seconds", "tokens", "parameters")
MAXIMIZED_METRICS = ("val_pass_rate",)
OBJECTIVE_METRICS = (*MINIMIZED_METRICS, *MAXIMIZED_METRICS)
"""What a search can go by: measured on validation data, or a cost. Test suites are read once, by the report."""

SAMPLER_OPTIONS: dict[Algorithm, tuple[str, ...]] = {
    "grid": (),
    "random": (),
    "tpe": ("n_startup_trials", "n_ei_candidates", "multivariate", "group", "constant_liar"),
    "gp": ("n_startup_trials", "deterministic_objective"),
    "cma-es": ("n_startup_trials", "popsize", "sigma0", "with_margin", "consider_pruned_trials"),
    "nsga2": ("population_size", "mutation_prob", "crossover_prob", "swapping_prob"),
}
"""Algorithm -> the arguments of Optuna's sampler that a sweep can set."""
_OPTION_TYPES: dict[str, type] = {
    **dict.fromkeys(("n_startup_trials", "n_ei_candidates", "popsize", "population_size"), int),
    **dict.fromkeys(("multivariate", "group", "constant_liar", "deterministic_objective"), bool),
    **dict.fromkeys(("with_margin", "consider_pruned_trials"), bool),
}
STARTUP_OPTIONS: dict[Algorithm, tuple[str, int]] = {
    "tpe": ("n_startup_trials", 10),
    "gp": ("n_startup_trials", 10),
    "cma-es": ("n_startup_trials", 1),
    "nsga2": ("population_size", 50),
}
"""Algorithm -> the option that says how many trials it draws at random first, and Optuna's default for it."""


class SearchedAxis(FrozenConfig):
    """An axis whose values a search chooses: exactly one of the first five."""

    uniform: tuple[FiniteFloat, FiniteFloat] | None = None
    """A number between these two."""
    loguniform: tuple[FiniteFloat, FiniteFloat] | None = None
    """A number between these two (above 0), uniform in its logarithm."""
    int_uniform: tuple[int, int] | None = None
    """A whole number from the first to the second, both included."""
    int_loguniform: tuple[int, int] | None = None
    """The same, uniform in its logarithm."""
    choice: list[Any] | None = None
    """One of these. A plain list under `axes` is the same."""
    or_null: bool = False
    """Also switched off (`null`), as a choice of its own: only when it is on does it have a value to search."""
    when: dict[str, list[Any]] = Field(default_factory=dict)
    """Searched only where these other searched axes have one of these values; else the recipe's value holds."""

    @model_validator(mode="after")
    def _check_single_distribution(self) -> SearchedAxis:
        kinds = ("uniform", "loguniform", "int_uniform", "int_loguniform", "choice")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(kinds)}; found {', '.join(given) or 'none'}")
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
    def is_numeric(self) -> bool:
        """Whether all it has is a number on a scale."""
        return self.choice is None and not self.or_null

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched where other axes have these values."""
        return all(values.get(other) in wanted for other, wanted in self.when.items())

    def contains_value(self, value: Any) -> bool:
        """Whether a value can be proposed."""
        if self.choice is not None:
            return value in self.choice
        if value is None:
            return self.or_null
        low, high = self.bounds
        return isinstance(value, int | float) and low <= value <= high and (not self.is_integer or value == int(value))

    @property
    def bounds(self) -> tuple[float, float]:
        """Of a range."""
        return self.uniform or self.loguniform or self.int_uniform or self.int_loguniform or (0, -1)

    @property
    def is_integer(self) -> bool:
        """Whether its range is of whole numbers."""
        return self.int_uniform is not None or self.int_loguniform is not None


class Rungs(FrozenConfig):
    """Where trials are compared while they train: at `first`, and then ever further."""

    unit: Literal["steps", "tokens", "epochs"] = "steps"
    """Of what: optimiser steps, tokens trained on, or epochs."""
    first: int = Field(gt=0)
    """The first rung, and least training of a trial that is stopped."""
    reduction_factor: int = Field(default=3, ge=2)
    """`asha`, `hyperband`: about one of so many goes on to the next rung, so many times further. `median`, `pbt`:
    without effect, their rungs are multiples of the first."""


class PbtConfig(FrozenConfig):
    """How a population trains itself (Jaderberg et al. 2017, arXiv 1711.09846): at a rung the worst give way to
    perturbed continuations of the best. The factors are the paper's, all but `population` the defaults of Ray Tune's
    PopulationBasedTraining."""

    population: int = Field(default=8, ge=2)
    """Members that begin, the anchor among them (of each model with `equal_per: model`)."""
    quantile: FiniteFloat = Field(default=0.25, gt=0, le=0.5)
    """Share of those that have been at a rung that counts as its worst, and as its best."""
    resample_probability: FiniteFloat = Field(default=0.25, ge=0, le=1)
    """Probability that a value is drawn anew from its axis, not perturbed."""
    factors: tuple[FiniteFloat, ...] = Field(default=(0.8, 1.2), min_length=1)
    """One of these, drawn at random, multiplies a value; a listed value moves one place in its list instead."""

    @model_validator(mode="after")
    def _check_quantile_and_factors(self) -> PbtConfig:
        if self.count_quantile(self.population) < 1:
            raise ValueError(f"`quantile: {self.quantile:g}` of `population: {self.population}` is nobody")
        if wrong := [factor for factor in self.factors if factor <= 0 or factor == 1]:
            raise ValueError(f"`factors`: {wrong[0]:g} makes nothing of a value that could be tried")
        return self

    def count_quantile(self, member_count: int) -> int:
        """Worst, or best, of so many: nobody while they are too few."""
        return int(member_count * self.quantile + 1e-9)


class SearchSpec(FrozenConfig):
    """How a search looks."""

    algorithm: Algorithm = "tpe"
    """`grid`: every combination; `random`; `tpe`, `gp`, `cma-es`: Optuna's samplers; `nsga2`: for two metrics."""
    trials: int | None = Field(default=None, gt=0)
    """Trials proposed, anchors and early-stopped ones included, those of all models together. `grid` counts its own;
    with `scheduler: pbt` it is the most, of which the population is the first."""
    metric: str | list[str] = "val_loss"
    """What is searched for, or two of them with `nsga2`, `tpe` or `random`: val_loss, best_val_loss (lower is better),
    val_pass_rate (higher; the agent on validation queries), train_flops, train_seconds, tokens, parameters (lower)."""
    sampler: dict[str, Any] = Field(default_factory=dict)
    """Arguments of Optuna's sampler. Ours for `tpe` are multivariate and constant_liar, else Optuna's defaults."""
    scheduler: Scheduler = "none"
    """Who is stopped early: `asha` (asynchronous successive halving), `hyperband`, `median` (below the median of the
    others), all by validation loss at the rungs. `pbt` (population based training): the worst at a rung, each for
    another one that goes on from one of the best there with other values of the learning rate, clipping or weight
    decay."""
    rungs: Rungs | None = None
    """For schedulers: where trials are compared."""
    pbt: PbtConfig | None = None
    """For `scheduler: pbt`; `null`: as it is by default."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the proposals. Each draws from a stream of its own, so that a resumed search draws what it would have."""
    anchor: bool = True
    """Try the recipe as it stands first (for every model). No scheduler stops it."""
    equal_per: Literal["model"] | None = None
    """`model`: a search for each model, with the same number of trials."""
    max_concurrent: int | None = Field(default=None, gt=0)
    """Trials at once, at most: the fewer, the more each proposal knows. `null`: as many as there is room for."""
    storage: str | None = None
    """Database URL of Optuna's storage, such as `sqlite:///search.db`; `null`: a journal file in the study's folder.
    `optuna-dashboard` opens either."""

    @property
    def metrics(self) -> list[str]:
        """All of them."""
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)

    @property
    def pbt_config(self) -> PbtConfig | None:
        """How a population is trained; None with any other scheduler."""
        return (self.pbt or PbtConfig()) if self.scheduler == "pbt" else None

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Of each metric."""
        return ["maximize" if metric in MAXIMIZED_METRICS else "minimize" for metric in self.metrics]

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, value: str | list[str]) -> str | list[str]:
        names = [value] if isinstance(value, str) else value
        for name in names:
            if name not in OBJECTIVE_METRICS:
                test = "a test metric, which a search must not see" if "pass_rate" in name else "not a metric"
                raise ValueError(f"`{name}` is {test}; choose from {', '.join(OBJECTIVE_METRICS)}")
        if not isinstance(value, str) and (len(names) != 2 or len(set(names)) != 2):
            raise ValueError("one metric, or a list of two different ones")
        if not isinstance(value, str) and not {"val_loss", "best_val_loss", "val_pass_rate"} & set(names):
            raise ValueError(
                f"{' and '.join(names)} are costs alone: the cheapest trial would be one that learns nothing"
            )
        if isinstance(value, str) and value not in ("val_loss", "best_val_loss", "val_pass_rate"):
            raise ValueError(f"`{value}` alone is a cost: the cheapest trial would be one that learns nothing")
        return value

    @field_validator("sampler")
    @classmethod
    def _check_sampler_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        algorithm = info.data.get("algorithm")
        if algorithm is not None and (unknown := sorted(set(value) - set(SAMPLER_OPTIONS[algorithm]))):
            takes = ", ".join(SAMPLER_OPTIONS[algorithm]) or "no options"
            raise ValueError(f"`algorithm: {algorithm}` does not know {', '.join(unknown)}; it takes {takes}")
        for option, given in value.items():
            kind = _OPTION_TYPES.get(option, float)
            fits = isinstance(given, bool) if kind is bool else not isinstance(given, bool) and isinstance(given, kind)
            if not fits and not (kind is float and isinstance(given, int) and not isinstance(given, bool)):
                words = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
                raise ValueError(f"`{option}` should be {words}")
            if kind is int and given < 1:
                raise ValueError(f"`{option}` should be above 0")
        return value

    @field_validator("storage")
    @classmethod
    def _check_storage_url(cls, value: str | None) -> str | None:
        if value is not None:
            scheme, found, rest = value.partition("://")
            if not found or not scheme:
                raise ValueError("not a database URL, such as sqlite:///search.db")
            if ":" in rest.rpartition("@")[0].partition("/")[0]:
                raise ValueError(
                    "it holds a password, and sweeps are written down: leave that to the driver's own file"
                )
        return value

    @model_validator(mode="after")
    def _check_combination(self) -> SearchSpec:
        two = len(self.metrics) == 2
        if two and self.algorithm not in ("nsga2", "tpe", "random"):
            raise ValueError(f"`algorithm: {self.algorithm}` knows one metric; two take nsga2, tpe or random")
        if not two and self.algorithm == "nsga2":
            raise ValueError("`algorithm: nsga2` is for two metrics, such as [val_pass_rate, train_flops]")
        if self.algorithm != "grid" and self.trials is None:
            raise ValueError(f"`algorithm: {self.algorithm}` needs `trials`: how many are proposed")
        if (self.scheduler == "none") != (self.rungs is None):
            raise ValueError(
                "`rungs` without a scheduler have no effect"
                if self.rungs
                else f"`scheduler: {self.scheduler}` needs `rungs`, such as {{unit: steps, first: 100}}"
            )
        if two and self.scheduler != "none":
            raise ValueError(f"`scheduler: {self.scheduler}` compares by one metric, and there are two")
        self._check_pbt()
        if self.algorithm in STARTUP_OPTIONS:
            option, default = STARTUP_OPTIONS[self.algorithm]
            first = self.sampler.get(option, default)
            if self.trials is not None and isinstance(first, int) and self.trials <= first:
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
                f"`algorithm: {self.algorithm}` with `scheduler: pbt`: a population is drawn at random, and who goes "
                "on from whom is what it learns by; algorithm: random"
            )
        if self.rungs and self.rungs.unit != "steps":
            raise ValueError(
                f"`scheduler: pbt` with rungs in {self.rungs.unit}: a recipe changes at optimiser steps; unit: steps"
            )
        if self.trials is not None and self.trials < self.pbt_config.population:
            raise ValueError(
                f"`trials: {self.trials}` for a population of {self.pbt_config.population}: those that go on from "
                "others count too"
            )


class ConfirmSpec(FrozenConfig):
    """Train the best again on fresh seeds, to the end: only these rows enter a claim."""

    top: int = Field(default=1, gt=0)
    """So many of the best explored (of each model with `equal_per: model`); the anchor is confirmed besides."""
    seeds: list[int] = Field(min_length=1)
    """Their seeds, none of which was explored with."""
