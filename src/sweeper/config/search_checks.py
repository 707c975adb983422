"""The `search:` and `confirm:` blocks and the searched axes of a sweep file, checked while the lines are known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from sweeper.config.data import DATA_AXES
from sweeper.config.recipe import RUNTIME_TUNABLES, Recipe
from sweeper.config.search import ConfirmSpec, SearchedAxis, SearchSpec
from sweeper.config.sweep import Sweep, enumerate_combinations, make_trial
from sweeper.config.yaml_lines import Problem, YamlFile, to_builtin
from sweeper.errors import suggest_nearest

SearchProblem = tuple[list[Any], str, str, str]
"""(keys that lead to the line, what was asked, what was found, what to do)."""


def split_searched_axes(source: YamlFile) -> dict[str, Any]:
    """`axes`, `searched`, `search` and `confirm` of a sweep's content; of a sweep without a search, its axes alone.

    Raises ConfigError for what does not fit together.
    """
    node = source.node
    axes = to_builtin(node["axes"])
    if node.get("search") is None:
        for key, keys in (("confirm", ["confirm"]), *((axis, ["axes", axis]) for axis in axes)):
            value = node.get("confirm") if key == "confirm" else axes[key]
            if isinstance(value, dict):
                raise source.make_error(
                    Problem(
                        keys,
                        ".".join(keys),
                        "no `search` block, which it requires",
                        "search: {algorithm: tpe, trials: 40}, or a list of values",
                    )
                )
        return {"axes": axes}
    search = source.validate(SearchSpec, node["search"], ["search"])
    confirm = source.validate(ConfirmSpec, node["confirm"], ["confirm"]) if node.get("confirm") is not None else None
    searched = {}
    for axis, values in axes.items():
        if axis in ("model", "seed") or (isinstance(values, list) and len(values) == 1):
            continue
        given = values if isinstance(values, dict) else {"choice": values}
        searched[axis] = source.validate(SearchedAxis, given, ["axes", axis])
    fixed = {axis: values for axis, values in axes.items() if axis not in searched}
    problems = _list_search_problems(search, confirm, fixed, searched, node)
    source.raise_first(Problem(*problem) for problem in problems)
    return {"axes": fixed, "searched": searched, "search": search, "confirm": confirm}


def check_search(sweep: Sweep, source: YamlFile) -> None:
    """What needs the whole sweep: every bound makes a valid trial, and the recipe itself can be proposed as an anchor.

    Raises ConfigError.
    """
    search = sweep.search
    if search is None:
        return
    known = [*Recipe.model_fields, *DATA_AXES]
    base: dict[str, Any] = {axis: values[0] for axis, values in sweep.axes.items()}
    for axis, how in sweep.searched.items():
        for value in _list_extreme_values(how):
            try:
                make_trial(sweep, base | {axis: value})
            except ValidationError as error:
                raise source.make_validation_error(error, known, ["axes"]) from error
    if "val_pass_rate" in search.metrics and (sweep.evaluation is None or sweep.evaluation.environment != "toolworld"):
        raise source.make_error(
            Problem(
                ["search", "metric"],
                "metric: val_pass_rate",
                "an evaluation that has no validation queries",
                "metric: val_loss, or evaluation: toolworld",
            )
        )
    for keys, found, do in _list_population_problems(sweep, source.node) if search.pbt_config else ():
        raise source.make_error(Problem(keys, "search.scheduler: pbt", found, do))
    if search.anchor:
        spec, own = make_trial(sweep, base), dict[str, Any]()
        for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
            how = sweep.searched[axis]
            value = getattr(spec.data if axis in DATA_AXES else spec.recipe, axis)
            if not how.is_active(own):
                continue
            own[axis] = value
            if not how.contains_value(value):
                raise source.make_error(
                    Problem(
                        ["axes", axis],
                        "search.anchor: the recipe itself as the first trial",
                        f"its {axis} {value!r} is outside the searched values",
                        "widen the axis, or search: {anchor: false}",
                    )
                )


def _list_population_problems(sweep: Sweep, node: CommentedMap) -> Iterator[tuple[list[Any], str, str]]:
    """(keys that lead to the line, what stands in the way, what to do)."""
    live = [axis for axis in RUNTIME_TUNABLES if axis in sweep.searched]
    if not live:
        yield (
            ["axes"],
            "no searched axis that can change while a model trains",
            f"search one of {', '.join(RUNTIME_TUNABLES)}",
        )
    for axis, how in sweep.searched.items():
        for other in how.when:
            if {axis, other} & set(live):
                found = f"{axis} hangs on {other}, one of which changes during a run"
                yield ["axes", axis], found, "leave out the `when`"
    search, groups = sweep.search, len(sweep.axes["model"])
    if groups > 1 and search and not search.equal_per:
        yield (
            ["search"],
            "several models: the weights of one do not fit another",
            "equal_per: model, one population each",
        )
    if groups > 1 and search and search.pbt_config and (search.trials or 0) < groups * search.pbt_config.population:
        yield (
            ["search", "trials"],
            f"{search.trials} trials for {groups} populations of {search.pbt_config.population}",
            "more trials, or a smaller population",
        )
    if sweep.recipe.changes:
        yield ["recipe"], "a recipe that has `changes` already", "recipe: {…, changes: []}"
    for engine in sweep.engines.values():
        if engine.distributed:
            yield (
                ["runtime"] if node.get("runtime") else ["search"],
                f"the engine {engine.name}, by which several workers train one model: changes are tried with one",
                "engine: single, or another scheduler",
            )


def _list_extreme_values(searched_axis: SearchedAxis) -> list[Any]:
    """The values between which, or among which, every other one lies."""
    if searched_axis.choice is not None:
        return list(searched_axis.choice)
    return [*searched_axis.bounds, *([None] if searched_axis.or_null else [])]


def _list_search_problems(
    search: SearchSpec,
    confirm: ConfirmSpec | None,
    fixed: Mapping[str, Any],
    searched: Mapping[str, SearchedAxis],
    node: CommentedMap,
) -> Iterator[SearchProblem]:
    models, seeds = fixed["model"], fixed["seed"]
    if len(seeds) != 1:
        yield (
            ["axes", "seed"],
            f"seeds {seeds}",
            "a search explores with one seed",
            "seed: [0], and `confirm: {top: 3, seeds: [1, 2, 3]}` trains the best on others",
        )
    if not searched and (len(models) == 1 or search.equal_per):
        yield ["axes"], "search", "nothing to search: every axis has one value", "a range or several values for an axis"
    for axis, how in searched.items():
        for other, values in how.when.items():
            if other not in searched or other == axis:
                yield (
                    ["axes", axis],
                    f"when: {{{other}: …}}",
                    "not another searched axis",
                    suggest_nearest(other, searched),
                )
            elif not all(searched[other].contains_value(value) for value in values):
                yield (
                    ["axes", axis],
                    f"when: {{{other}: {values}}}",
                    f"a value that {other} never has",
                    _describe_axis_values(searched[other]),
                )
            elif searched[other].when:
                yield (
                    ["axes", axis],
                    f"when: {{{other}: …}}",
                    f"{other} has a `when` of its own",
                    "name what it hangs on",
                )
    yield from _list_algorithm_problems(search, fixed, searched)
    for axis in DATA_AXES:
        if axis in searched and searched[axis].choice is None:
            yield ["axes", axis], f"{axis} as a range", "each value needs data of its own, prepared before", "list them"
    groups = len(fixed["model"])
    if search.anchor and search.trials is not None and search.trials < groups:
        yield (
            ["search", "trials"],
            f"trials: {search.trials}",
            f"{groups} models, each of which begins with the recipe itself",
            "more trials, or anchor: false",
        )
    by_loss = [metric for metric in search.metrics if metric.endswith("val_loss")] or search.scheduler != "none"
    if by_loss and (cut := [axis for axis in DATA_AXES if axis in searched]):
        yield (
            ["axes", cut[0]],
            f"{cut[0]} searched by validation loss" + ("" if search.metrics == ["val_loss"] else " (or at rungs)"),
            "each value has other validation rows: losses over different rows do not rank them",
            "metric: val_pass_rate with scheduler: none, where it has queries; else a list without a search",
        )
    if search.rungs and search.rungs.unit == "epochs" and ("num_train_epochs" in searched):
        yield (
            ["search", "rungs"],
            f"scheduler: {search.scheduler} with rungs in epochs",
            "`num_train_epochs` is searched: an epoch of a run of one and of a run of five stand at other places of "
            "their schedules",
            "rungs: {unit: steps, …}",
        )
    if confirm:
        if both := sorted(set(confirm.seeds) & set(seeds)):
            yield (
                ["confirm"],
                f"confirm.seeds {confirm.seeds}",
                f"{both} explored: what chose a trial cannot confirm it",
                "give fresh seeds",
            )
        if len(set(confirm.seeds)) < len(confirm.seeds):
            yield ["confirm"], f"confirm.seeds {confirm.seeds}", "a seed twice", "name each once"
    elif node.get("claims"):
        yield (
            ["claims"],
            "claims",
            "a search without `confirm`: only trials confirmed on fresh seeds enter a claim",
            "confirm: {top: 1, seeds: [1, 2, 3]}",
        )


def _describe_axis_values(searched_axis: SearchedAxis) -> str:
    """Describe the values of an axis for a hint."""
    values = searched_axis.choice
    return f"it has {searched_axis.model_dump(exclude_defaults=True) if values is None else values}"


def _list_algorithm_problems(
    search: SearchSpec, fixed: Mapping[str, Any], searched: Mapping[str, SearchedAxis]
) -> Iterator[SearchProblem]:
    requested, models = f"algorithm: {search.algorithm}", fixed["model"]
    if search.traits.is_grid:
        ranges = [axis for axis, how in searched.items() if how.choice is None]
        if ranges:
            yield ["axes", ranges[0]], requested, f"{ranges[0]} is a range, which has no grid", "list its values"
            return
        points = sum(1 for _ in enumerate_combinations(searched)) * len(models)
        if search.trials is not None and search.trials != points:
            yield ["search", "trials"], f"trials: {search.trials}", f"a grid of {points} points", "leave it out"
        return
    groups, trials = len(models) if search.equal_per else 1, search.trials or 0
    if trials % groups:
        yield (
            ["search", "trials"],
            f"trials: {trials} with equal_per: model",
            f"{groups} models, which cannot have equally many",
            f"{math.ceil(trials / groups) * groups}",
        )
    if search.traits.startup is not None and groups > 1:
        option, default = search.traits.startup
        if trials // groups <= search.sampler.get(option, default):
            yield (
                ["search", "trials"],
                f"trials: {trials} with equal_per: model",
                f"{trials // groups} trials a model, all of them drawn at random ({option})",
                f"more trials, or sampler: {{{option}: …}}",
            )
    if search.traits.needs_numeric_axes:
        names = [axis for axis, how in searched.items() if not how.is_numeric or how.when]
        if not search.equal_per and len(models) > 1:
            names.append("model")
        if names:
            yield ["search"], requested, f"{', '.join(names)}: not a number on a scale", "algorithm: tpe"
        if len(searched) < 2:
            yield ["search"], requested, "one axis; it needs two", "algorithm: tpe"
