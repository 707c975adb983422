"""Trials of a sweep, their resources and engines."""

from __future__ import annotations

import pytest

from sweeper.config import expand_sweep, find_sweep, load_sweep, make_trial
from sweeper.errors import ConfigError


def test_expand_sweep_varies_the_last_axis_fastest() -> None:
    sweep = load_sweep(
        find_sweep("quickstart"), ["axes={model: [opt-tiny-32, opt-tiny-64], seed: [0, 1]}", "claims=[]"]
    )
    assert [(spec.model.name, spec.seed) for spec in expand_sweep(sweep)] == [
        ("opt-tiny-32", 0),
        ("opt-tiny-32", 1),
        ("opt-tiny-64", 0),
        ("opt-tiny-64", 1),
    ]


def test_make_trial_puts_each_value_into_recipe_or_data() -> None:
    sweep = load_sweep(find_sweep("quickstart"))
    spec = make_trial(sweep, {"model": "opt-tiny-32", "seed": 3, "learning_rate": 0.5, "max_length": 99})
    assert (spec.seed, spec.recipe.learning_rate, spec.data.max_length) == (3, 0.5, 99)
    assert (sweep.recipe.learning_rate, sweep.data.max_length) != (0.5, 99)


def test_model_without_a_runtime_entry_gets_the_default_engine() -> None:
    runtime = "runtime={opt-tiny-32: {engine: ddp, workers: 2}}"
    sweep = load_sweep(find_sweep("quickstart"), [runtime])
    engines = {spec.model.name: spec.engine and spec.engine.name for spec in expand_sweep(sweep)}
    assert engines == {"opt-tiny-32": "ddp", "opt-tiny-64": "single", "opt-tiny-96": "single"}


def test_auto_engine_is_left_open() -> None:
    sweep = load_sweep(find_sweep("quickstart"), ["runtime={default: {engine: auto}}"])
    assert {spec.engine for spec in expand_sweep(sweep)} == {None}
    assert list(sweep.engines) == ["single", "zero2", "zero3", "zero3-offload"]


def test_engine_that_the_sweep_does_not_have_is_an_error() -> None:
    sweep = load_sweep(find_sweep("quickstart")).model_copy(update={"engines": {}})
    with pytest.raises(ConfigError, match="engine: single"):
        expand_sweep(sweep)
