"""The search space: values that a search can propose, and the proposals that every search starts with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never, cast

from sweeper.config import SearchedAxis, SearchSpec, Sweep
from sweeper.config.sweep import enumerate_combinations

if TYPE_CHECKING:
    import optuna

AxisValue = bool | int | float | str | None
"""The value of an axis, as Optuna stores it."""


@dataclass(frozen=True)
class Proposal:
    """Values of the searched axes that one trial trains with."""

    group: str
    """The model where each model has a search of its own (`equal_per: model`), else empty."""
    number: int
    """Optuna's trial number, unique within the group."""
    is_baseline: bool
    """Whether these are the recipe's own values. No scheduler prunes the baseline."""
    values: dict[str, AxisValue] = field(compare=False)
    """Axis -> value; with `model` where one search covers several models."""
    is_stopped: bool = field(default=False, compare=False)
    """Whether the trial was stopped at a rung."""
    parent: Proposal | None = field(default=None, compare=False)
    """In a population: the member from whose checkpoint at `branch_step` this one continues with its own `values`."""
    branch_step: int = field(default=0, compare=False)
    """Optimizer steps that the parent trained."""

    @property
    def key(self) -> str:
        """Identifier, unique within the study."""
        return f"{self.group}#{self.number}"

    @property
    def initial_values(self) -> dict[str, AxisValue]:
        """Values of the searched axes at the first step of the run."""
        return self.values if self.parent is None else self.parent.initial_values

    @property
    def changes(self) -> list[dict[str, AxisValue]]:
        """Changes during the run, as a recipe's `changes`: the step and the axes that change there."""
        if self.parent is None:
            return []
        before = self.parent.values
        changed = {axis: value for axis, value in self.values.items() if value != before[axis]}
        return [*self.parent.changes, {"step": self.branch_step} | changed]


def require_search(sweep: Sweep) -> SearchSpec:
    """Return the `search` block of a sweep.

    Raises:
        ValueError: the sweep has none.
    """
    if sweep.search is None:
        raise ValueError(f"sweep {sweep.name} has no search")
    return sweep.search


def list_groups(sweep: Sweep) -> list[str]:
    """List the groups of a search: each model with `equal_per: model`, else one group with an empty name."""
    equal_per = sweep.search.equal_per if sweep.search else None
    match equal_per:
        case "model":
            return list(sweep.axes["model"])
        case None:
            return [""]
        case _:
            assert_never(equal_per)


def count_planned_trials(sweep: Sweep) -> int:
    """Count the proposals of the whole search: `trials`, or the points of a grid."""
    search = require_search(sweep)
    if search.traits.is_grid:
        return sum(1 for _ in enumerate_combinations(sweep.searched)) * len(sweep.axes["model"])
    return search.trials or 0


def count_planned_per_group(sweep: Sweep) -> int:
    """Count the proposals of each group."""
    return count_planned_trials(sweep) // len(list_groups(sweep))


def suggest_values(
    trial: optuna.trial.BaseTrial,
    sweep: Sweep,
    group: str,
    before_suggest: Callable[[optuna.trial.BaseTrial, str], None] | None = None,
) -> dict[str, AxisValue]:
    """Draw a value for every active axis, or read the values that the trial already has.

    Args:
        trial: a running trial to draw for, or a finished one to read.
        sweep: the sweep whose `searched` axes are drawn.
        group: the group of the search; without one, the model is drawn too where there are several.
        before_suggest: called with the trial and each Optuna parameter before it is drawn. An axis with `or_null` has
            two parameters: its switch and its value.

    Returns:
        Axis -> value. Axes whose `when` does not hold are left out.
    """
    models = sweep.axes["model"]
    values: dict[str, AxisValue] = {}
    before_suggest = before_suggest or (lambda _trial, _parameter: None)
    if not group and len(models) > 1:
        before_suggest(trial, "model")
        values["model"] = trial.suggest_categorical("model", models)
    for axis, searched_axis in list_axes_in_draw_order(sweep):
        if not searched_axis.is_active(values):
            continue
        if searched_axis.or_null:
            before_suggest(trial, f"{axis}_off")
            if trial.suggest_categorical(f"{axis}_off", [False, True]):
                values[axis] = None
                continue
        before_suggest(trial, axis)
        values[axis] = _suggest_value(trial, axis, searched_axis)
    return values


def list_axes_in_draw_order(sweep: Sweep) -> list[tuple[str, SearchedAxis]]:
    """List the searched axes, those with a `when` after all others, which they depend on."""
    return sorted(sweep.searched.items(), key=lambda item: bool(item[1].when))


def _suggest_value(trial: optuna.trial.BaseTrial, axis: str, searched_axis: SearchedAxis) -> AxisValue:
    kind = searched_axis.kind
    if kind == "choice":
        return cast(AxisValue, trial.suggest_categorical(axis, searched_axis.choice or []))
    low, high = searched_axis.bounds
    match kind:
        case "uniform" | "loguniform":
            return trial.suggest_float(axis, low, high, log=kind == "loguniform")
        case "int_uniform" | "int_loguniform":
            return trial.suggest_int(axis, int(low), int(high), log=kind == "int_loguniform")
        case _:
            assert_never(kind)


def build_baseline_proposals(sweep: Sweep) -> list[Proposal]:
    """Build the proposals that every search starts with: the unchanged recipe, for every model."""
    return [
        Proposal(group, number, True, _select_model(point.params) | _get_recipe_values(sweep))
        for group in list_groups(sweep)
        for number, point in enumerate(list_initial_points(sweep, group))
        if point.is_baseline
    ]


@dataclass(frozen=True)
class InitialPoint:
    """A proposal that is made before anything is drawn."""

    params: dict[str, AxisValue]
    """Optuna's parameters."""
    is_baseline: bool


def list_initial_points(sweep: Sweep, group: str) -> list[InitialPoint]:
    """List what a group tries before anything is drawn: the baseline of each model, and all points of a grid."""
    search = require_search(sweep)
    models = [group] if group else sweep.axes["model"]
    points: list[InitialPoint] = []
    for model in models:
        baselines = [_get_recipe_values(sweep)] if search.anchor else []
        grid = list(enumerate_combinations(sweep.searched)) if search.traits.is_grid else []
        for values in baselines + [point for point in grid if point not in baselines]:
            named = values if group or len(models) == 1 else {"model": model} | values
            points.append(InitialPoint(to_optuna_params(named, sweep), values in baselines))
    return points


def _select_model(params: Mapping[str, AxisValue]) -> dict[str, AxisValue]:
    return {"model": params["model"]} if "model" in params else {}


def _get_recipe_values(sweep: Sweep) -> dict[str, AxisValue]:
    """Return the recipe's own values of the searched axes."""
    values: dict[str, AxisValue] = {}
    for axis, searched_axis in list_axes_in_draw_order(sweep):
        if searched_axis.is_active(values):
            values[axis] = getattr(sweep.recipe if axis in type(sweep.recipe).model_fields else sweep.data, axis)
    return values


def to_optuna_params(values: Mapping[str, AxisValue], sweep: Sweep) -> dict[str, AxisValue]:
    """Convert values of axes to Optuna's parameters, in which an axis with `or_null` has a switch `<axis>_off`."""
    params: dict[str, AxisValue] = {}
    for axis, value in values.items():
        searched_axis = sweep.searched.get(axis)
        if searched_axis is not None and searched_axis.or_null:
            params[f"{axis}_off"] = value is None
        if value is not None or searched_axis is None or not searched_axis.or_null:
            params[axis] = value
    return params
