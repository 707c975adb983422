"""Search algorithms: their quality, restarts, and what they declare about themselves."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from scipy import stats
from searches import NUMERIC_AXES, make_outcome, make_sweep, run_search, surface

from sweeper.config.search import ALGORITHMS, read_algorithm_traits
from sweeper.search import SearchSession, load_proposal_records
from sweeper.search.samplers import SAMPLERS, make_sampler

FEW_OR_ALL_SEEDS = pytest.mark.parametrize(("seeds", "wins"), [(8, 7), pytest.param(20, 17, marks=pytest.mark.long)])
"""Of two equal searches, one wins at least `wins` times with probability 0.035 over 8 seeds and 0.0013 over 20."""


def branin(values: dict[str, Any]) -> float:
    """Branin's function (Dixon & Szegö 1978), minimum 0.397887; its square is -5..10 by 0..15."""
    x, y = values["learning_rate"] - 5.001, values["weight_decay"]
    return (
        (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    )


def count_wins_over_random(
    tmp_path: Path, axes: str, recipe: str, loss: Callable[[dict[str, Any]], float], seeds: int
) -> int:
    wins = 0
    for seed in range(seeds):
        best = {}
        for algorithm, sampler in (("tpe", "{n_startup_trials: 20}"), ("random", "{}")):
            options = f"algorithm: {algorithm}, trials: 100, seed: {seed}, anchor: false, sampler: {sampler}"
            best[algorithm] = run_search(
                make_sweep(tmp_path, axes, options, recipe=recipe), tmp_path / f"{algorithm}{seed}", loss
            )
        wins += best["tpe"] < best["random"]
    return wins


@pytest.mark.slow
@FEW_OR_ALL_SEEDS
@pytest.mark.parametrize(
    ("axes", "recipe", "loss"),
    [
        ("learning_rate: {uniform: [0.001, 15.001]}\n  weight_decay: {uniform: [0, 15]}", "learning_rate: 1", branin),
        (NUMERIC_AXES, "learning_rate: 1.0e-2", surface),
    ],
    ids=["branin", "learning rate x clipping"],
)
def test_tpe_beats_random_search_at_equal_trials(
    tmp_path: Path, axes: str, recipe: str, loss: Callable[[dict[str, Any]], float], seeds: int, wins: int
) -> None:
    assert stats.binom.sf(wins - 1, seeds, 0.5) < 0.036
    assert count_wins_over_random(tmp_path, axes, recipe, loss, seeds) >= wins


def test_grid_proposes_every_combination_once(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "learning_rate: [0.01, 0.1]\n  max_grad_norm: [null, 0.3, 1]", "algorithm: grid")
    run_search(sweep, tmp_path, lambda values: values["learning_rate"])
    points = [tuple(entry.proposal.values.values()) for entry in load_proposal_records(sweep, tmp_path)]
    assert len(points) == len(set(points)) == 6


@pytest.mark.parametrize("algorithm", ["gp", "cma-es"])
def test_sampler_continues_after_a_restart(tmp_path: Path, algorithm: str) -> None:
    options = f"algorithm: {algorithm}, trials: 9, sampler: {{n_startup_trials: 4}}"
    sweep = make_sweep(tmp_path, search=options)
    run_search(sweep, tmp_path / "whole", surface)
    first = SearchSession(sweep, tmp_path / "broken")
    for _ in range(6):
        proposal = first.ask()
        assert proposal
        first.tell(proposal, make_outcome(surface(proposal.values)))
    run_search(sweep, tmp_path / "broken", surface)
    values = [
        [entry.values for entry in load_proposal_records(sweep, tmp_path / folder)] for folder in ("whole", "broken")
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize("algorithm", SAMPLERS.names)
def test_every_sampler_declares_options_of_its_optuna_class(tmp_path: Path, algorithm: str) -> None:
    traits = read_algorithm_traits(algorithm)
    options: dict[str, Any] = {"integer": 3, "number": 0.5, "boolean": True}
    given = {name: options[kind] for name, kind in traits.options.items()}
    sampler = SAMPLERS.load(algorithm)(1, given, make_sweep(tmp_path))
    parameters = inspect.signature(type(sampler).__init__).parameters
    assert set(traits.options) <= set(parameters)
    if traits.startup is not None:
        option, default = traits.startup
        assert option in traits.options
        assert parameters[option].default == default


def test_configuration_knows_the_same_algorithms() -> None:
    assert ALGORITHMS.names == SAMPLERS.names


def test_make_sampler_gives_every_proposal_its_own_stream(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)

    def draw(stream: str, number: int) -> float:
        study = optuna.create_study(sampler=make_sampler(sweep, stream, number))
        return study.ask().suggest_float("x", 0, 1)

    assert draw("", 3) == draw("", 3)
    assert len({draw("", 3), draw("", 4), draw("a model", 3)}) == 3
