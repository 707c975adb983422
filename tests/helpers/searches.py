"""Small searches for tests: sweeps over toy models, and known functions that take the place of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeper.config import Sweep, load_sweep
from sweeper.search import Proposal, SearchSession
from sweeper.training import RowStatus, TrialRow

SWEEP = """
name: %s
question: What is best?
recipe: {extends: miniature, %s}
data: toolworld
evaluation: %s
axes:
  model: [%s]
  seed: [0]
  %s
search: {%s}
%s
"""
NUMERIC_AXES = "learning_rate: {loguniform: [1.0e-4, 1.0]}\n  max_grad_norm: {loguniform: [0.01, 10]}"
ASHA = "algorithm: random, trials: 12, scheduler: asha, rungs: {first: 10, reduction_factor: 2}"
TUNABLE_AXIS = "learning_rate: {loguniform: [1.0e-3, 1.0]}"
POPULATION = "algorithm: random, trials: 8, scheduler: pbt, rungs: {first: 10}, pbt: {population: 4}"


def make_sweep(
    folder: Path,
    axes: str = NUMERIC_AXES,
    search: str = "algorithm: random, trials: 20",
    models: str = "opt-tiny-32",
    recipe: str = "learning_rate: 1.0e-2",
    more: str = "",
    evaluation: str = "null",
) -> Sweep:
    """Write a sweep with a search to `looking.yaml` and load it."""
    path = folder / "looking.yaml"
    path.write_text(SWEEP % ("looking", recipe, evaluation, models, axes, search, more))
    return load_sweep(path)


def make_population_sweep(
    folder: Path,
    search: str = POPULATION,
    axes: str = TUNABLE_AXIS,
    models: str = "opt-tiny-32",
    recipe: str = "",
    more: str = "",
) -> Sweep:
    """Write a sweep with population based training to `population.yaml` and load it."""
    path = folder / "population.yaml"
    path.write_text(SWEEP % ("population", f"learning_rate: 0.1, {recipe}", "null", models, axes, search, more))
    return load_sweep(path)


def make_outcome(value: float, status: RowStatus = "COMPLETE") -> TrialRow:
    """The row of a trial that ended with this validation loss."""
    return TrialRow("", status, {"val_loss": value})


def run_search(sweep: Sweep, folder: Path, loss: Callable[[dict[str, Any]], float]) -> float:
    """Run a search to its end, one trial at a time, and return the best loss."""
    search, best = SearchSession(sweep, folder), math.inf
    while (proposal := search.ask()) is not None:
        value = loss(proposal.values)
        search.tell(proposal, make_outcome(value))
        best = min(best, value)
    return best


def surface(values: dict[str, Any]) -> float:
    """A bowl in the logarithms, best at learning rate 1e-2 and clipping 0.3, with a ridge of divergence above 0.3."""
    rate, clip = math.log10(values["learning_rate"]), math.log10(values["max_grad_norm"])
    return (rate + 2) ** 2 + 0.3 * (clip - math.log10(0.3)) ** 2 + 0.2 * (rate + 2) * (clip + 0.52) + 5 * (rate > -0.5)


STEPS = 81


def curve(final: float, step: int) -> float:
    """A loss that falls from 6 to its end. Good trials are ahead early, though not in every case."""
    return final + (6 - final) * math.exp(-6 * step / STEPS)


def ask_population(
    sweep: Sweep, folder: Path, losses: tuple[float, ...] = (2.0, 1.0, 3.0, 4.0)
) -> tuple[SearchSession, list[tuple[Proposal, bool]]]:
    """Propose a member for each loss and bring it to its first rung; return the members and whether each stops."""
    search = SearchSession(sweep, folder)
    members = [search.ask() for _ in losses]
    return search, [(p, search.should_prune(p, 10, loss)) for p, loss in zip(members, losses, strict=True) if p]
