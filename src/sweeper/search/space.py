"""What can be proposed: values of the searched axes, and what every search proposes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeper.config import SearchSpec, Sweep
from sweeper.config.sweep import enumerate_combinations


@dataclass(frozen=True)
class Proposal:
    """What a search proposes: values of the searched axes, and of `model`."""

    group: str
    """The model, where each has a search of its own; else empty."""
    number: int
    """Optuna's, within the group."""
    is_baseline: bool
    """The recipe as it stands: no scheduler stops it."""
    values: dict[str, Any] = field(compare=False)
    is_stopped: bool = field(default=False, compare=False)
    """A rung has ended it."""
    parent: Proposal | None = field(default=None, compare=False)
    """In a population: the member whose checkpoint of `at_step` it goes on from, with `values` of its own."""
    branch_step: int = field(default=0, compare=False)
    """Optimiser steps that it leaves to that one."""

    @property
    def key(self) -> str:
        """The only one of its study."""
        return f"{self.group}#{self.number}"

    @property
    def initial_values(self) -> dict[str, Any]:
        """Values of the searched axes at a run's first step."""
        return self.values if self.parent is None else self.parent.initial_values

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What changes after it, in the words of a recipe."""
        if self.parent is None:
            return []
        before = self.parent.values
        changed = {axis: value for axis, value in self.values.items() if value != before[axis]}
        return [*self.parent.changes, {"step": self.branch_step} | changed]


def require_search(sweep: Sweep) -> SearchSpec:
    """The search of a sweep that has one."""
    if sweep.search is None:
        raise ValueError(f"sweep {sweep.name} has no search")
    return sweep.search


def search_groups(sweep: Sweep) -> list[str]:
    """One search for each model, or one for all of them, called by the empty name."""
    return list(sweep.axes["model"]) if sweep.search and sweep.search.equal_per else [""]


def count_planned_trials(sweep: Sweep) -> int:
    """Proposals of the whole search."""
    search = require_search(sweep)
    if search.algorithm == "grid":
        return sum(1 for _ in enumerate_combinations(sweep.searched)) * len(sweep.axes["model"])
    return search.trials or 0


def suggest_values(
    trial: Any, sweep: Sweep, group: str, before_suggest: Callable[[Any, str], None] | None = None
) -> dict[str, Any]:
    """Draw (or, of a trial that has them, read) the values of all searched axes that are active. `before` is called
    with the trial and each of Optuna's parameters: what can be off has two."""
    models = sweep.axes["model"]
    values: dict[str, Any] = {}
    before_suggest = before_suggest or (lambda _trial, _parameter: None)
    if not group and len(models) > 1:
        before_suggest(trial, "model")
        values["model"] = trial.suggest_categorical("model", models)
    for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
        how = sweep.searched[axis]
        if not how.is_active(values):
            continue
        if how.or_null:
            before_suggest(trial, f"{axis}_off")
            if trial.suggest_categorical(f"{axis}_off", [False, True]):
                values[axis] = None
                continue
        before_suggest(trial, axis)
        if how.choice is not None:
            values[axis] = trial.suggest_categorical(axis, how.choice)
        elif how.uniform or how.loguniform:
            low, high = how.uniform or how.loguniform or (0.0, 0.0)
            values[axis] = trial.suggest_float(axis, low, high, log=how.loguniform is not None)
        else:
            start, end = how.int_uniform or how.int_loguniform or (0, 0)
            values[axis] = trial.suggest_int(axis, start, end, log=how.int_loguniform is not None)
    return values


def build_baseline_proposals(sweep: Sweep) -> list[Proposal]:
    """The recipe as it stands, for every model: what every search proposes first."""
    found = []
    for group in search_groups(sweep):
        for number, (params, anchor) in enumerate(initial_points(sweep, group)):
            if anchor:
                named = {"model": params["model"]} if "model" in params else {}
                found.append(Proposal(group, number, True, named | _get_baseline_values(sweep)))
    return found


def initial_points(sweep: Sweep, group: str) -> list[tuple[dict[str, Any], bool]]:
    """What is tried before anything is drawn: the anchor of each model, and of a grid all its points."""
    search = require_search(sweep)
    models = [group] if group else sweep.axes["model"]
    found: list[tuple[dict[str, Any], bool]] = []
    for model in models:
        anchors = [_get_baseline_values(sweep)] if search.anchor else []
        points = list(enumerate_combinations(sweep.searched)) if search.algorithm == "grid" else []
        for values in anchors + [point for point in points if point not in anchors]:
            named = values if group or len(models) == 1 else {"model": model} | values
            found.append((to_optuna_params(named, sweep), values in anchors))
    return found


def _get_baseline_values(sweep: Sweep) -> dict[str, Any]:
    """The recipe's own values of the searched axes."""
    values: dict[str, Any] = {}
    for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
        if sweep.searched[axis].is_active(values):
            values[axis] = getattr(sweep.recipe if axis in type(sweep.recipe).model_fields else sweep.data, axis)
    return values


def to_optuna_params(values: Mapping[str, Any], sweep: Sweep) -> dict[str, Any]:
    """Values of axes as Optuna's parameters: what can be off has a switch of its own."""
    params: dict[str, Any] = {}
    for axis, value in values.items():
        how = sweep.searched.get(axis)
        if how is not None and how.or_null:
            params[f"{axis}_off"] = value is None
        if value is not None or how is None or not how.or_null:
            params[axis] = value
    return params


def to_axis_values(values: Mapping[str, Any], sweep: Sweep, group: str) -> dict[str, Any]:
    """Back again, from what OptunaSearch hands out: parameters and our values in one mapping."""
    names = [*sweep.searched, "model"]
    return {axis: values[axis] for axis in names if axis in values and not (axis == "model" and group)}
