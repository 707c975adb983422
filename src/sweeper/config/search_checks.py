"""The `search:` and `confirm:` blocks of a sweep and its searched axes, checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sweeper.config.data import DATA_AXES
from sweeper.config.recipe import RUNTIME_TUNABLES, Recipe
from sweeper.config.search import ConfirmSpec, SearchedAxis, SearchSpec
from sweeper.config.sweep import (
    MAX_TRIALS,
    AxisValue,
    Sweep,
    TrialSpec,
    enumerate_combinations,
    get_axis_value,
    make_trial,
)
from sweeper.config.yaml_lines import Problem, YamlFile, to_builtin
from sweeper.errors import suggest_nearest


@dataclass(frozen=True)
class _Design:
    """A search and what it varies, before the sweep is built."""

    search: SearchSpec
    confirm: ConfirmSpec | None
    fixed: Mapping[str, list[AxisValue]]
    searched: Mapping[str, SearchedAxis]
    has_claims: bool

    @property
    def model_count(self) -> int:
        return len(self.fixed["model"])


def split_searched_axes(source: YamlFile) -> dict[str, Any]:
    """Split the axes of a sweep file into those with listed values and those that a search chooses.

    Returns:
        `axes`, `searched`, `search` and `confirm` of `Sweep`; without a search, `axes` only.

    Raises:
        ConfigError: invalid blocks, or a combination that cannot work.
    """
    node = source.node
    axes = to_builtin(node["axes"])
    if node.get("search") is None:
        source.raise_first(_find_orphans(source))
        return {"axes": axes}
    search = source.validate(SearchSpec, node["search"], ["search"])
    confirm = source.validate(ConfirmSpec, node["confirm"], ["confirm"]) if node.get("confirm") is not None else None
    searched = {}
    for axis, values in axes.items():
        if axis in ("model", "seed") or (isinstance(values, list) and len(values) == 1):
            continue
        fields = values if isinstance(values, dict) else {"choice": values}
        searched[axis] = source.validate(SearchedAxis, fields, ["axes", axis])
    fixed = {axis: values for axis, values in axes.items() if axis not in searched}
    design = _Design(search, confirm, fixed, searched, has_claims=bool(node.get("claims")))
    source.raise_first(_find_design_problems(design))
    return {"axes": fixed, "searched": searched, "search": search, "confirm": confirm}


def check_search(sweep: Sweep, source: YamlFile) -> None:
    """Check what needs the whole sweep: every bound makes a valid trial, and the recipe can be proposed as baseline.

    Raises:
        ConfigError: an invalid bound, or a combination that cannot work.
    """
    if sweep.search is None:
        return
    base = {axis: values[0] for axis, values in sweep.axes.items()}
    for axis, searched_axis in sweep.searched.items():
        active = {other: values[0] for other, values in searched_axis.when.items()}
        for value in _list_extreme_values(searched_axis):
            try:
                spec = make_trial(sweep, base | active | {axis: value})
            except ValidationError as error:
                raise source.make_validation_error(error, [*Recipe.model_fields, *DATA_AXES], ["axes"]) from error
            source.raise_first(find_converted_values(spec, {axis: value}))
    source.raise_first(_find_sweep_problems(sweep, sweep.search, base))


def find_converted_values(spec: TrialSpec, values: Mapping[str, AxisValue]) -> Iterator[Problem]:
    """Find texts and truth values that a field would take as a number: claims compare the values as written.

    Args:
        spec: a trial.
        values: axis -> the value that it was made with.

    Yields:
        A problem for each.
    """
    for axis, value in values.items():
        if isinstance(value, str | bool) and type(value) is not type(taken := get_axis_value(spec, axis)):
            yield Problem(["axes", axis], f"axes.{axis}", f"{value!r}, which would be read as {taken!r}", f"{taken!r}")


def _find_orphans(source: YamlFile) -> Iterator[Problem]:
    """Find ranges and a `confirm` block without a search."""
    hint = "search: {algorithm: tpe, trials: 40}, or a list of values"
    entries = [("confirm",), *(("axes", str(axis)) for axis in source.node["axes"])]
    for keys in entries:
        entry = source.node.get("confirm") if keys == ("confirm",) else source.node["axes"][keys[-1]]
        if isinstance(entry, dict):
            yield Problem(keys, ".".join(keys), "no `search` block, which it requires", hint)


def _find_design_problems(design: _Design) -> Iterator[Problem]:
    search, searched, seeds = design.search, design.searched, design.fixed["seed"]
    if len(seeds) != 1:
        hint = "seed: [0], and `confirm: {top: 3, seeds: [1, 2, 3]}` trains the best on others"
        yield Problem(["axes", "seed"], f"seeds {seeds}", "a search explores with one seed", hint)
    if not searched and (design.model_count == 1 or search.equal_per):
        found = "nothing to search: every axis has one value"
        yield Problem(["axes"], "search", found, "a range or several values for an axis")
    yield from _find_condition_problems(searched)
    yield from _find_algorithm_problems(design)
    yield from _find_comparison_problems(design)
    if search.anchor and search.trials is not None and search.trials < design.model_count:
        yield Problem(
            ["search", "trials"],
            f"trials: {search.trials}",
            f"{design.model_count} models, each of which begins with the recipe itself",
            "more trials, or anchor: false",
        )
    yield from _find_confirmation_problems(design)


def _find_condition_problems(searched: Mapping[str, SearchedAxis]) -> Iterator[Problem]:
    """Find conditions (`when`) that can never be met or that form chains."""
    for axis, searched_axis in searched.items():
        for other, values in searched_axis.when.items():
            keys, requested = ["axes", axis], f"when: {{{other}: …}}"
            if other not in searched or other == axis:
                yield Problem(keys, requested, "not another searched axis", suggest_nearest(other, searched))
            elif not all(searched[other].contains_value(value) for value in values):
                hint = _describe_axis_values(searched[other])
                yield Problem(keys, f"when: {{{other}: {values}}}", f"a value that {other} never has", hint)
            elif searched[other].when:
                hint = "refer to the axis in that `when`"
                yield Problem(keys, requested, f"{other} has a `when` of its own", hint)


def _find_algorithm_problems(design: _Design) -> Iterator[Problem]:
    search, searched = design.search, design.searched
    requested = f"algorithm: {search.algorithm}"
    if search.traits.is_grid:
        ranges = [axis for axis, searched_axis in searched.items() if searched_axis.choice is None]
        if ranges:
            found = f"{ranges[0]} is a range, which has no grid"
            yield Problem(["axes", ranges[0]], requested, found, "list its values")
            return
        most = math.prod(len(axis.choice or ()) for axis in searched.values()) * design.model_count
        if most > MAX_TRIALS:
            yield Problem(
                ["axes"], requested, f"{most:,} combinations", f"at most {MAX_TRIALS:,}, or another algorithm"
            )
            return
        points = sum(1 for _ in enumerate_combinations(searched)) * design.model_count
        if search.trials is not None and search.trials != points:
            found = f"a grid of {points} points"
            yield Problem(["search", "trials"], f"trials: {search.trials}", found, "leave it out")
        return
    groups, trials = design.model_count if search.equal_per else 1, search.trials or 0
    keys, per_model = ["search", "trials"], f"trials: {trials} with equal_per: model"
    if trials % groups:
        hint = f"{math.ceil(trials / groups) * groups}"
        yield Problem(keys, per_model, f"a number that does not divide by {groups} models", hint)
    if search.traits.startup is not None and groups > 1:
        option, default = search.traits.startup
        if trials // groups <= search.sampler.get(option, default):
            found = f"{trials // groups} trials per model, all of them drawn at random ({option})"
            yield Problem(keys, per_model, found, f"more trials, or sampler: {{{option}: …}}")
    if search.traits.needs_numeric_axes:
        names = [axis for axis, searched_axis in searched.items() if not searched_axis.is_numeric or searched_axis.when]
        if not search.equal_per and design.model_count > 1:
            names.append("model")
        if names:
            found = f"{', '.join(names)}: not a number on a scale"
            yield Problem(["search"], requested, found, "algorithm: tpe")
        if len(searched) < 2:
            yield Problem(["search"], requested, "one axis; the algorithm needs two", "algorithm: tpe")


def _find_comparison_problems(design: _Design) -> Iterator[Problem]:
    """Find axes whose values cannot be compared by the metric or at the rungs."""
    search, searched = design.search, design.searched
    data_axes = [axis for axis in DATA_AXES if axis in searched]
    for axis in data_axes:
        if searched[axis].choice is None:
            found = "a range of data sets; each value needs its own, prepared in advance"
            yield Problem(["axes", axis], f"{axis} as a range", found, "list its values")
    by_loss = any(metric.endswith("val_loss") for metric in search.metrics) or search.scheduler != "none"
    if by_loss and data_axes:
        where = "" if search.metrics == ["val_loss"] else " (or at rungs)"
        yield Problem(
            ["axes", data_axes[0]],
            f"{data_axes[0]} searched by validation loss{where}",
            "different validation rows for each value: losses over different rows do not rank them",
            "metric: val_pass_rate with scheduler: none, if there are validation queries; else a list without a search",
        )
    if search.rungs and search.rungs.unit == "epochs" and "num_train_epochs" in searched:
        yield Problem(
            ["search", "rungs"],
            f"scheduler: {search.scheduler} with rungs in epochs",
            "`num_train_epochs` is searched: after one epoch, runs of different lengths are at different points of "
            "their schedules",
            "rungs: {unit: steps, …}",
        )


def _find_confirmation_problems(design: _Design) -> Iterator[Problem]:
    confirm, seeds = design.confirm, design.fixed["seed"]
    if confirm is None:
        if design.has_claims:
            found = "a search without `confirm`: only trials confirmed on fresh seeds enter a claim"
            yield Problem(["claims"], "claims", found, "confirm: {top: 1, seeds: [1, 2, 3]}")
        return
    requested = f"confirm.seeds {confirm.seeds}"
    if both := sorted(set(confirm.seeds) & set(seeds)):
        found = f"{both} explored: what chose a trial cannot confirm it"
        yield Problem(["confirm"], requested, found, "use fresh seeds")
    if len(set(confirm.seeds)) < len(confirm.seeds):
        yield Problem(["confirm"], requested, "a seed twice", "name each once")


def _find_sweep_problems(sweep: Sweep, search: SearchSpec, base: Mapping[str, AxisValue]) -> Iterator[Problem]:
    if "val_pass_rate" in search.metrics and (sweep.evaluation is None or sweep.evaluation.environment != "toolworld"):
        yield Problem(
            ["search", "metric"],
            "metric: val_pass_rate",
            "an evaluation without validation queries",
            "metric: val_loss, or evaluation: toolworld",
        )
    if search.pbt_config:
        yield from _find_population_problems(sweep, search, search.pbt_config.population)
    if search.anchor:
        yield from _find_baseline_problems(sweep, base)


def _find_population_problems(sweep: Sweep, search: SearchSpec, population: int) -> Iterator[Problem]:
    requested = "search.scheduler: pbt"
    tunable = [axis for axis in RUNTIME_TUNABLES if axis in sweep.searched]
    if not tunable:
        found, hint = "no searched axis that can change during a run", f"search one of {', '.join(RUNTIME_TUNABLES)}"
        yield Problem(["axes"], requested, found, hint)
    for axis, searched_axis in sweep.searched.items():
        for other in searched_axis.when:
            if {axis, other} & set(tunable):
                found = f"{axis} depends on {other}, and one of them changes during a run"
                yield Problem(["axes", axis], requested, found, "remove the `when`")
    groups = len(sweep.axes["model"])
    if groups > 1 and not search.equal_per:
        found = "several models: the weights of one do not fit another"
        yield Problem(["search"], requested, found, "equal_per: model, one population each")
    if groups > 1 and (search.trials or 0) < groups * population:
        found = f"{search.trials} trials for {groups} populations of {population}"
        yield Problem(["search", "trials"], requested, found, "more trials, or a smaller population")
    if sweep.recipe.changes:
        found = "a recipe that already has `changes`"
        yield Problem(["recipe"], requested, found, "recipe: {…, changes: []}")
    for engine in sweep.engines.values():
        if engine.distributed:
            found = f"the engine {engine.name} with several workers: changes support one worker"
            keys = ["runtime"] if sweep.runtime else ["search"]
            yield Problem(keys, requested, found, "engine: single, or another scheduler")


def _find_baseline_problems(sweep: Sweep, base: Mapping[str, AxisValue]) -> Iterator[Problem]:
    """Find searched axes that do not contain the recipe's own value, with which the search begins."""
    spec = make_trial(sweep, base)
    values: dict[str, AxisValue] = {}
    for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
        searched_axis = sweep.searched[axis]
        if not searched_axis.is_active(values):
            continue
        values[axis] = getattr(spec.data if axis in DATA_AXES else spec.recipe, axis)
        if not searched_axis.contains_value(values[axis]):
            yield Problem(
                ["axes", axis],
                "search.anchor: the recipe itself as the first trial",
                f"its {axis} {values[axis]!r} is outside the searched values",
                "widen the axis, or search: {anchor: false}",
            )


def _list_extreme_values(searched_axis: SearchedAxis) -> list[AxisValue]:
    """List the values between which, or among which, all others lie."""
    if searched_axis.choice is not None:
        return list(searched_axis.choice)
    return [*searched_axis.bounds, *([None] if searched_axis.or_null else [])]


def _describe_axis_values(searched_axis: SearchedAxis) -> str:
    """Describe the values of an axis for a hint."""
    values = searched_axis.choice
    return f"it has {searched_axis.model_dump(exclude_defaults=True) if values is None else values}"
