"""What can be proposed: values of the searched axes, and what every search proposes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeper.spec import SearchSpec, Sweep
from sweeper.spec.sweep import combinations


@dataclass(frozen=True)
class Proposal:
    """What a search proposes: values of the searched axes, and of `model`."""

    group: str
    """The model, where each has a search of its own; else empty."""
    number: int
    """Optuna's, within the group."""
    anchor: bool
    """The recipe as it stands: no scheduler stops it."""
    values: dict[str, Any] = field(compare=False)
    stopped: bool = field(default=False, compare=False)
    """A rung has ended it."""
    goes_on_from: Proposal | None = field(default=None, compare=False)
    """In a population: the member whose checkpoint of `at_step` it goes on from, with `values` of its own."""
    at_step: int = field(default=0, compare=False)
    """Optimiser steps that it leaves to that one."""

    @property
    def key(self) -> str:
        """The only one of its study."""
        return f"{self.group}#{self.number}"

    @property
    def begins_with(self) -> dict[str, Any]:
        """Values of the searched axes at a run's first step."""
        return self.values if self.goes_on_from is None else self.goes_on_from.begins_with

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What changes after it, in the words of a recipe."""
        if self.goes_on_from is None:
            return []
        before = self.goes_on_from.values
        changed = {axis: value for axis, value in self.values.items() if value != before[axis]}
        return [*self.goes_on_from.changes, {"step": self.at_step} | changed]


def asked_by(sweep: Sweep) -> SearchSpec:
    """The search of a sweep that has one."""
    if sweep.search is None:
        raise ValueError(f"sweep {sweep.name} has no search")
    return sweep.search


def groups_of(sweep: Sweep) -> list[str]:
    """One search for each model, or one for all of them, called by the empty name."""
    return list(sweep.axes["model"]) if sweep.search and sweep.search.equal_per else [""]


def trials_planned(sweep: Sweep) -> int:
    """Proposals of the whole search."""
    search = asked_by(sweep)
    if search.algorithm == "grid":
        return sum(1 for _ in combinations(sweep.searched)) * len(sweep.axes["model"])
    return search.trials or 0


def suggest(trial: Any, sweep: Sweep, group: str, before: Callable[[Any, str], None] | None = None) -> dict[str, Any]:
    """Draw (or, of a trial that has them, read) the values of all searched axes that are active. `before` is called
    with the trial and each of Optuna's parameters: what can be off has two."""
    models = sweep.axes["model"]
    values: dict[str, Any] = {}
    before = before or (lambda _trial, _parameter: None)
    if not group and len(models) > 1:
        before(trial, "model")
        values["model"] = trial.suggest_categorical("model", models)
    for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
        how = sweep.searched[axis]
        if not how.active(values):
            continue
        if how.or_null:
            before(trial, f"{axis}_off")
            if trial.suggest_categorical(f"{axis}_off", [False, True]):
                values[axis] = None
                continue
        before(trial, axis)
        if how.choice is not None:
            values[axis] = trial.suggest_categorical(axis, how.choice)
        elif how.uniform or how.loguniform:
            low, high = how.uniform or how.loguniform or (0.0, 0.0)
            values[axis] = trial.suggest_float(axis, low, high, log=how.loguniform is not None)
        else:
            start, end = how.int_uniform or how.int_loguniform or (0, 0)
            values[axis] = trial.suggest_int(axis, start, end, log=how.int_loguniform is not None)
    return values


def anchors(sweep: Sweep) -> list[Proposal]:
    """The recipe as it stands, for every model: what every search proposes first."""
    found = []
    for group in groups_of(sweep):
        for number, (params, anchor) in enumerate(first_points(sweep, group)):
            if anchor:
                named = {"model": params["model"]} if "model" in params else {}
                found.append(Proposal(group, number, True, named | _anchor(sweep)))
    return found


def first_points(sweep: Sweep, group: str) -> list[tuple[dict[str, Any], bool]]:
    """What is tried before anything is drawn: the anchor of each model, and of a grid all its points."""
    search = asked_by(sweep)
    models = [group] if group else sweep.axes["model"]
    found: list[tuple[dict[str, Any], bool]] = []
    for model in models:
        anchors = [_anchor(sweep)] if search.anchor else []
        points = list(combinations(sweep.searched)) if search.algorithm == "grid" else []
        for values in anchors + [point for point in points if point not in anchors]:
            named = values if group or len(models) == 1 else {"model": model} | values
            found.append((params_of(named, sweep), values in anchors))
    return found


def _anchor(sweep: Sweep) -> dict[str, Any]:
    """The recipe's own values of the searched axes."""
    values: dict[str, Any] = {}
    for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
        if sweep.searched[axis].active(values):
            values[axis] = getattr(sweep.recipe if axis in type(sweep.recipe).model_fields else sweep.data, axis)
    return values


def params_of(values: Mapping[str, Any], sweep: Sweep) -> dict[str, Any]:
    """Values of axes as Optuna's parameters: what can be off has a switch of its own."""
    params: dict[str, Any] = {}
    for axis, value in values.items():
        how = sweep.searched.get(axis)
        if how is not None and how.or_null:
            params[f"{axis}_off"] = value is None
        if value is not None or how is None or not how.or_null:
            params[axis] = value
    return params


def axes_of(values: Mapping[str, Any], sweep: Sweep, group: str) -> dict[str, Any]:
    """Back again, from what OptunaSearch hands out: parameters and our values in one mapping."""
    names = [*sweep.searched, "model"]
    return {axis: values[axis] for axis in names if axis in values and not (axis == "model" and group)}
