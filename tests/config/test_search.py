"""Searches that a sweep file must not have, refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from searches import NUMERIC_AXES, POPULATION, TUNABLE_AXIS, make_population_sweep, make_sweep

from sweeper.errors import ConfigError


@pytest.mark.parametrize(
    ("axes", "search", "more", "found"),
    [
        (NUMERIC_AXES, "algorithm: grid", "", "learning_rate is a range"),
        ("max_grad_norm: [0.1, 0.3]", "algorithm: grid, sampler: {n_startup_trials: 3}", "", "no options"),
        ("max_grad_norm: [0.1, 0.3]", "algorithm: grid, trials: 7", "", "a grid of 2 points"),
        (NUMERIC_AXES, "algorithm: tpe, trials: 5", "", "all of them at random"),
        (
            NUMERIC_AXES,
            "algorithm: tpe, trials: 40, sampler: {startup: 3}",
            "",
            "`algorithm: tpe` has no option startup",
        ),
        (NUMERIC_AXES, "algorithm: tpe", "", "needs `trials`"),
        (NUMERIC_AXES, "algorithm: annealing, trials: 5", "", "known: cma-es, gp, grid, nsga2, random, tpe"),
        (NUMERIC_AXES, "algorithm: random, trials: 5, metric: pass_rate", "", "a test metric"),
        (NUMERIC_AXES, "algorithm: random, trials: 5, metric: val_pass_rate", "", "without validation queries"),
        (NUMERIC_AXES, "algorithm: random, trials: 5, metric: train_flops", "", "alone is a cost"),
        (
            NUMERIC_AXES,
            "algorithm: gp, trials: 50, metric: [val_loss, train_flops]",
            "",
            "with 2 metrics; choose from nsga2, random, tpe",
        ),
        (
            NUMERIC_AXES,
            "algorithm: nsga2, trials: 80",
            "",
            "with one metric; choose from cma-es, gp, grid, random, tpe",
        ),
        (NUMERIC_AXES, "algorithm: nsga2, trials: 40, metric: [val_loss, tokens]", "", "population_size 50"),
        (NUMERIC_AXES, "algorithm: qmc, trials: 5", "", "no algorithm of this name"),
        (NUMERIC_AXES, "algorithm: tpe, trials: 40, scheduler: patient", "", "no scheduler of this name"),
        (NUMERIC_AXES, "scheduler: patient, trials: 40", "", "known: asha, hyperband, median, none, pbt"),
        (NUMERIC_AXES, "algorithm: tpe, trials: 40, sampler: {multivariate: 1}", "", "should be true or false"),
        (NUMERIC_AXES, "algorithm: cma-es, trials: 40, sampler: {sigma0: wide}", "", "should be a number"),
        (NUMERIC_AXES, "algorithm: random, trials: 9, scheduler: asha", "", "needs `rungs`"),
        (NUMERIC_AXES, "algorithm: random, trials: 9, rungs: {first: 3}", "", "without a scheduler"),
        (
            "num_train_epochs: [1, 2]",
            "algorithm: random, trials: 2, scheduler: asha, rungs: {unit: epochs, first: 1}",
            "",
            "`num_train_epochs` is searched",
        ),
        ("max_grad_norm: [0.1, 0.3]", "algorithm: cma-es, trials: 9", "", "not a number on a scale"),
        ("max_length: {int_uniform: [128, 256]}", "algorithm: random, trials: 2", "", "max_length as a range"),
        (NUMERIC_AXES, "algorithm: tpe, trials: 40, sampler: {n_startup_trials: many}", "", "should be a whole number"),
        (
            "adam_beta1: [0.9, 0.8]\n  warmup_steps: {choice: [5], when: {adam_beta1: [0.9]}}",
            "algorithm: random, trials: 4",
            "",
            "its warmup_steps 20 is outside",
        ),
        ("fit: [strict, truncate]", "algorithm: random, trials: 2", "", "do not rank them"),
        ("learning_rate: {loguniform: [0.5, 1]}", "algorithm: random, trials: 9", "", "outside the searched values"),
        ("learning_rate: {loguniform: [1, 0.5]}", "algorithm: random, trials: 9", "", "should be below the second"),
        ("learning_rate: {lognormal: [1, 0.5]}", "algorithm: random, trials: 9", "", "unknown key `lognormal`"),
        ("learning_rate: {uniform: [-1, 1]}", "algorithm: random, trials: 9", "", "greater than 0"),
        ("learning_rate: [0.01]", "algorithm: random, trials: 9", "", "nothing to search"),
        (NUMERIC_AXES, "algorithm: random, trials: 9", "confirm: {top: 1, seeds: [0, 1]}", "[0] explored"),
        (NUMERIC_AXES, "algorithm: random, trials: 9", "claims: [pass-rate]", "without `confirm`"),
        (
            NUMERIC_AXES,
            "algorithm: random, trials: 9, storage: 'postgresql://me:secret@host/db'",
            "",
            "contains a password",
        ),
    ],
)
def test_invalid_search_is_refused_with_the_reason(
    tmp_path: Path, axes: str, search: str, more: str, found: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make_sweep(tmp_path, axes, search, more=more)
    assert found in str(error.value)
    assert "looking.yaml" in str(error.value)
    assert "secret" not in str(error.value)


def test_too_few_trials_for_the_baselines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="begins with the recipe"):
        make_sweep(tmp_path, search="algorithm: random, trials: 1", models="opt-tiny-32, opt-tiny-64")


def test_models_that_cannot_have_equally_many_trials_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not divide by 2 models"):
        make_sweep(tmp_path, search="algorithm: random, trials: 9, equal_per: model", models="opt-tiny-32, opt-tiny-64")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"search": POPULATION.replace("random", "tpe")}, "the initial population is drawn at random"),
        ({"search": POPULATION.replace("trials: 8", "trials: 3")}, "for a population of 4"),
        ({"search": POPULATION.replace("population: 4", "population: 3")}, "selects no member"),
        ({"search": POPULATION.replace("population: 4", "factors: [1]")}, "a factor is above 0 and not 1"),
        ({"search": POPULATION.replace("population: 4", "quantile: 0.6")}, "less than or equal to 0.5"),
        ({"search": POPULATION.replace("first: 10", "first: 1, unit: epochs")}, "changes at optimizer steps"),
        ({"search": POPULATION.replace("scheduler: pbt", "scheduler: median")}, "has no effect"),
        ({"search": POPULATION.replace("rungs: {first: 10}, ", "")}, "needs `rungs`"),
        ({"search": POPULATION + ", metric: [val_loss, train_flops]"}, "compares by one metric"),
        ({"axes": "warmup_steps: {int_uniform: [5, 50]}"}, "no searched axis that can change"),
        ({"models": "opt-tiny-32, opt-tiny-64"}, "weights of one do not fit"),
        (
            {
                "models": "opt-tiny-32, opt-tiny-64",
                "search": POPULATION.replace("trials: 8", "trials: 6, equal_per: model"),
            },
            "for 2 populations of 4",
        ),
        (
            {"axes": f"{TUNABLE_AXIS}\n  warmup_steps: {{choice: [20], when: {{learning_rate: [0.1]}}}}"},
            "one of them changes during a run",
        ),
        ({"recipe": "changes: [{step: 5, learning_rate: 0.2}]"}, "already has `changes`"),
        ({"more": "runtime: {default: {engine: ddp, workers: 2}}"}, "changes support one worker"),
        ({"more": "branch_epochs: true"}, "branch_epochs"),
    ],
)
def test_invalid_population_is_refused_with_the_reason(tmp_path: Path, change: dict[str, str], found: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_population_sweep(tmp_path, **change)
    assert found in str(error.value)
    assert "population.yaml" in str(error.value)
