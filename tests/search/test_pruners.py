"""Schedulers: how much they save, and which trials they stop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from searches import STEPS, curve, make_outcome, make_sweep, surface

from sweeper.config import Rungs, Sweep, read_scheduler_traits
from sweeper.config.search import SCHEDULERS
from sweeper.search import SearchSession, load_proposal_records
from sweeper.search.pruners import PRUNERS


def count_steps_until(sweep: Sweep, folder: Path, target: float) -> tuple[int, float]:
    """(Steps trained until a trial reached the target, or all of them; the best)."""
    search, spent, best = SearchSession(sweep, folder), 0, math.inf
    while (proposal := search.ask()) is not None and best > target:
        final = surface(proposal.values)
        rungs = [step for step in (3, 9, 27) if sweep.search and sweep.search.rungs]
        stopped = next((step for step in rungs if search.should_prune(proposal, step, curve(final, step))), None)
        spent += stopped or STEPS
        search.tell(proposal, make_outcome(curve(final, STEPS), "PRUNED" if stopped else "COMPLETE"))
        if not stopped:
            best = min(best, curve(final, STEPS))
    return spent, best


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [6, pytest.param(20, marks=pytest.mark.long)])
def test_asha_needs_at_most_half_the_steps_for_the_same_best_value(tmp_path: Path, seeds: int) -> None:
    """Over seeds of random search: the steps until the best of 40 full trials is reached (or given up)."""
    without = with_asha = missed = 0
    for seed in range(seeds):
        plain = make_sweep(tmp_path, search=f"algorithm: random, trials: 40, seed: {seed}, anchor: false")
        spent, best = count_steps_until(plain, tmp_path / f"none{seed}", -math.inf)
        without += spent
        halved = f"algorithm: random, trials: 40, seed: {seed}, anchor: false, scheduler: asha, rungs: {{first: 3}}"
        spent, reached = count_steps_until(make_sweep(tmp_path, search=halved), tmp_path / f"asha{seed}", best)
        missed += reached > best
        with_asha += spent if reached <= best else 40 * STEPS
    assert with_asha <= 0.5 * without, (with_asha / without, missed)


def run_with_rungs(sweep: Sweep, folder: Path) -> list[str]:
    """Run a search of trials whose rungs are at 10, 20 and 40 of 80 steps; what the history says of their ends."""
    search = SearchSession(sweep, folder)
    rungs = (10, 20, 40)
    while (proposal := search.ask()) is not None:
        loss = surface(proposal.values)
        stopped = next((step for step in rungs if search.should_prune(proposal, step, loss + 1 / step)), None)
        search.tell(proposal, make_outcome(loss, "PRUNED" if stopped else "COMPLETE"))
    return [entry.state for entry in load_proposal_records(sweep, folder)]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_scheduler_stops_some_trials_and_never_the_best(tmp_path: Path, scheduler: str) -> None:
    options = f"algorithm: random, trials: 40, scheduler: {scheduler}, rungs: {{first: 10, reduction_factor: 2}}"
    sweep = make_sweep(tmp_path, search=options)
    states = run_with_rungs(sweep, tmp_path)
    assert states[0] == "COMPLETE"
    assert 5 <= states.count("PRUNED") <= 38
    best = min(load_proposal_records(sweep, tmp_path), key=lambda entry: surface(entry.proposal.values))
    assert best.state == "COMPLETE"


def test_configuration_knows_the_same_schedulers() -> None:
    assert SCHEDULERS.names == PRUNERS.names


@pytest.mark.parametrize("scheduler", PRUNERS.names)
def test_every_pruner_declares_its_rungs(scheduler: str) -> None:
    assert (read_scheduler_traits(scheduler).rung_spacing is None) == (scheduler == "none")
    PRUNERS.load(scheduler)(Rungs(first=3, reduction_factor=2))


def test_require_rungs_refuses_their_absence() -> None:
    with pytest.raises(ValueError, match="without rungs"):
        PRUNERS.load("asha")(None)
