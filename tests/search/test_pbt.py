"""Population based training without training: known functions of a schedule take the place of trials."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from searches import POPULATION, ask_population, make_outcome, make_population_sweep

from sweeper.config import Sweep
from sweeper.search import (
    Proposal,
    ProposalRecord,
    SearchSession,
    is_exhausted,
    load_proposal_records,
    select_finalists,
)
from sweeper.training import RowStatus, TrialRow

FEW_OR_ALL_SEEDS = pytest.mark.parametrize(("seeds", "wins"), [(8, 7), pytest.param(20, 17, marks=pytest.mark.long)])
"""Of two equal searches, one wins at least `wins` times with probability 0.035 over 8 seeds and 0.0013 over 20."""


START, STEPS, EVERY = 1.0, 200, 20
"""Error at the first step; steps of a run; steps between rungs."""


def error_after(error: float, rate: float, steps: range) -> float:
    """A surface whose best rate falls from 0.3 to 0.01 during a run: each step takes off up to a twentieth of the
    error, the less the farther the rate is from the one that is best then. No constant rate is near it for long, and
    what is best now never costs anything later: that is where a population, which is greedy, can show what it does."""
    for step in steps:
        best = 0.3 * 0.03 ** (step / STEPS)
        error *= 1 - 0.05 * math.exp(-2 * math.log(rate / best) ** 2)
    return error


class SimulatedPopulation:
    """Members that train all at once, each to its next rung in turn."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self.search = SearchSession(sweep, folder)
        self.errors: dict[tuple[int, int], float] = {}
        """(member, rung) -> its error there: its checkpoints."""
        self.trained, self.best = 0, math.inf

    def run(self) -> float:
        """Until nothing is left to propose: the best error of those that got to the end."""
        running: list[tuple[Proposal, int, float]] = []
        while True:
            while (proposal := self.search.ask()) is not None:
                parent, at = proposal.parent, proposal.branch_step
                running.append((proposal, at, self.errors[parent.number, at] if parent else START))
            if not running:
                return self.best
            proposal, step, error = running.pop(0)
            error, step = error_after(error, proposal.values["learning_rate"], range(step, step + EVERY)), step + EVERY
            self.trained += EVERY
            self.errors[proposal.number, step] = error
            if step == STEPS:
                self.best = min(self.best, error)
                self.search.tell(proposal, make_outcome(error))
            elif self.search.should_prune(proposal, step, error):
                self.search.tell(proposal, make_outcome(error, "PRUNED"))
            else:
                running.append((proposal, step, error))


@pytest.mark.slow
@FEW_OR_ALL_SEEDS
def test_population_beats_random_search_at_equal_steps(tmp_path: Path, seeds: int, wins: int) -> None:
    assert stats.binom.sf(wins - 1, seeds, 0.5) < 0.036
    won = 0
    for seed in range(seeds):
        options = f"algorithm: random, anchor: false, seed: {seed}, trials: "
        rule = "60, scheduler: pbt, rungs: {first: 20}, pbt: {population: 8}"
        population = SimulatedPopulation(
            make_population_sweep(tmp_path, options + rule), tmp_path / f"population{seed}"
        )
        reached = population.run()
        alone = math.ceil(population.trained / STEPS)
        assert 8 <= alone <= 10, "who goes on trains what the one before has left, and at most a rung more"
        search, best = (
            SearchSession(make_population_sweep(tmp_path, f"{options}{alone}"), tmp_path / f"random{seed}"),
            math.inf,
        )
        while (proposal := search.ask()) is not None:
            best = min(best, error_after(START, proposal.values["learning_rate"], range(STEPS)))
            search.tell(proposal, make_outcome(best))
        won += reached < best
    assert won >= wins


def test_worst_member_is_replaced_by_a_continuation_of_the_best(tmp_path: Path) -> None:
    sweep = make_population_sweep(tmp_path)
    search, answers = ask_population(sweep, tmp_path)
    assert [stopped for _, stopped in answers] == [False, False, False, True]
    assert search.ask() is None, "its place is free once it has ended"
    search.tell(answers[3][0], make_outcome(4.0, "PRUNED"))
    child = search.ask()
    assert child is not None
    assert child.parent is not None
    assert (child.parent.number, child.branch_step) == (1, 10)
    rate = child.parent.values["learning_rate"]
    assert child.initial_values == {"learning_rate": rate}
    assert child.changes == [{"step": 10, "learning_rate": child.values["learning_rate"]}]
    assert search.ask() is None
    assert not search.should_prune(child, 10, 9.0), "that rung is its parent's"
    entries = load_proposal_records(sweep, tmp_path)
    assert [(e.state, e.values) for e in entries if e.proposal.is_stopped] == [("PRUNED", [4.0])]
    assert entries[4].rung_losses == {}
    assert entries[4].replaced_number == 3
    assert not is_exhausted(sweep, entries)


def test_should_stop_spares_the_first_at_a_rung_and_the_baseline(tmp_path: Path) -> None:
    search = SearchSession(make_population_sweep(tmp_path), tmp_path)
    members = [p for _ in range(4) if (p := search.ask())]
    assert members[0].is_baseline
    assert not any(search.should_prune(p, 10, loss) for p, loss in zip(members, (9.0, 5.0, 7.0, 1.0), strict=True))
    assert search.should_prune(members[1], 20, 1.0) is search.should_prune(members[1], 20, 1.0) is False


def test_should_stop_compares_the_first_at_a_rung_at_the_rung_before(tmp_path: Path) -> None:
    sweep = make_population_sweep(tmp_path)
    search, answers = ask_population(sweep, tmp_path, (4.0, 9.0, 2.0, 1.0))
    assert not any(stopped for _, stopped in answers), "the worst had passed before"
    member = answers[1][0]
    assert search.should_prune(member, 20, 0.1), "alone there, and the worst of four at the rung before"
    search.tell(member, make_outcome(0.1, "PRUNED"))
    child = search.ask()
    assert child
    assert child.parent
    assert (child.parent.number, child.branch_step) == (3, 10), "at 20 there are too few to go on from"


def test_should_stop_is_false_without_a_proposal_left(tmp_path: Path) -> None:
    sweep = make_population_sweep(tmp_path, POPULATION.replace("trials: 8", "trials: 5"))
    search, answers = ask_population(sweep, tmp_path)
    assert answers[3][1]
    for i, loss in enumerate((1.0, 2.0, 3.0)):
        assert not search.should_prune(answers[i][0], 20, loss)
        search.tell(answers[i][0], make_outcome(loss))
    search.tell(answers[3][0], make_outcome(4.0, "PRUNED"))
    child = search.ask()
    assert child
    assert not search.should_prune(child, 20, 9.0), "all five are proposed"
    search.tell(child, make_outcome(0.5))
    assert search.ask() is None
    entries = load_proposal_records(sweep, tmp_path)
    assert is_exhausted(sweep, entries)
    assert [e.proposal.number for e in select_finalists(sweep, entries)[""]] == [4, 0]


def test_find_vacancies_replaces_a_member_only_if_it_diverged_after_a_rung(tmp_path: Path) -> None:
    search, answers = ask_population(
        make_population_sweep(tmp_path, POPULATION.replace("trials: 8", "trials: 6")), tmp_path
    )
    search.tell(answers[1][0], TrialRow("", "DIVERGED", {}))
    assert search.ask() is None, "who was best there has diverged: nobody to go on from"
    again = SearchSession(make_population_sweep(tmp_path, "seed: 1, " + POPULATION), tmp_path / "other")
    members = [p for _ in range(4) if (p := again.ask())]
    again.tell(members[3], TrialRow("", "DIVERGED", {}))
    assert again.ask() is None
    for member, loss in zip(members[:3], (3.0, 2.0, 1.0), strict=True):
        assert not again.should_prune(member, 10, loss), "three have no quarter"


def run_one_by_one(tmp_path: Path, name: str, *, dies: bool) -> list[ProposalRecord]:
    """One by one, as the inline backend does; `dies`: the driver dies after every step, before or after `tell`."""
    options = POPULATION.replace("trials: 8", "trials: 20").replace("population: 4", "population: 8")
    sweep, folder = make_population_sweep(tmp_path, options), tmp_path / name
    errors: dict[tuple[int, int], float] = {}
    search = SearchSession(sweep, folder)

    def maybe_lost() -> None:
        nonlocal search
        if dies:
            search = SearchSession(sweep, folder)

    while (proposal := search.ask()) is not None:
        maybe_lost()
        if dies:
            proposal = search.ask()  # handed out again
            assert proposal is not None
        parent, step = proposal.parent, proposal.branch_step
        error = errors[parent.number, step] if parent else START
        status: RowStatus = "COMPLETE"
        while step < STEPS and status == "COMPLETE":
            error, step = error_after(error, proposal.values["learning_rate"], range(step, step + EVERY)), step + EVERY
            errors[proposal.number, step] = error
            if step < STEPS and search.should_prune(proposal, step, error):
                status = "PRUNED"
            maybe_lost()
        if dies and status == "PRUNED":
            again = search.ask()
            assert again is not None
            assert again.is_stopped
        search.tell(proposal, make_outcome(error, status))
        maybe_lost()
    return load_proposal_records(sweep, folder)


def test_population_has_the_same_history_after_any_restart(tmp_path: Path) -> None:
    whole, broken = (run_one_by_one(tmp_path, name, dies=name == "broken") for name in ("whole", "broken"))
    assert len(whole) > 10

    def list_outcomes(entries: list[ProposalRecord]) -> list[Any]:
        return [(e.proposal, e.proposal.values, e.proposal.changes, e.state, e.values, e.rung_losses) for e in entries]

    assert list_outcomes(whole) == list_outcomes(broken)
    assert [e.proposal.changes for e in whole if e.proposal.parent]


def test_ask_returns_a_member_that_was_enqueued_before_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_population_sweep(tmp_path)
    search, answers = ask_population(sweep, tmp_path)
    search.tell(answers[3][0], make_outcome(4.0, "PRUNED"))
    monkeypatch.setattr(search._studies[""], "ask", lambda: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        search.ask()
    assert not is_exhausted(sweep, load_proposal_records(sweep, tmp_path))
    after = SearchSession(sweep, tmp_path)
    handed = [after.ask() for _ in range(5)]
    assert [p.number for p in handed if p] == [0, 1, 2, 4], "first those under way"
    assert handed[3] and handed[3].parent


def test_perturb_stays_in_the_axes_and_changes_only_tunable_values(tmp_path: Path) -> None:
    axes = (
        "learning_rate: {loguniform: [0.09, 0.11]}\n  max_grad_norm: {loguniform: [0.1, 1], or_null: true}\n"
        "  weight_decay: [0.0, 0.01, 0.1]\n  warmup_steps: {int_uniform: [5, 50]}"
    )
    options = "algorithm: random, trials: 60, scheduler: pbt, rungs: {first: 20}, pbt: {population: 8}"
    sweep = make_population_sweep(tmp_path, options, axes)
    search, running = SearchSession(sweep, tmp_path), list[tuple[Proposal, int]]()
    while True:
        while (proposal := search.ask()) is not None:
            running.append((proposal, proposal.branch_step))
        if not running:
            break
        proposal, step = running.pop(0)
        loss = proposal.number % 7 + 1 / (step + 1)
        if step == 100:
            search.tell(proposal, make_outcome(loss))
        elif search.should_prune(proposal, step + 10, loss):
            search.tell(proposal, make_outcome(loss, "PRUNED"))
        else:
            running.append((proposal, step + 10))
    children = [e.proposal for e in load_proposal_records(sweep, tmp_path) if e.proposal.parent]
    assert len(children) > 10
    seen = dict[str, set[Any]]()
    for child in children:
        parent = child.parent
        assert parent is not None
        assert child.values["warmup_steps"] == parent.values["warmup_steps"]
        assert child.values != parent.values
        for axis, value in child.values.items():
            assert sweep.searched[axis].contains_value(value)
            seen.setdefault(axis, set()).add(value)
        steps = [change["step"] for change in child.changes]
        assert steps == sorted(set(steps))
        assert not any("warmup_steps" in change for change in child.changes)
    assert len(seen["weight_decay"]) > 1
    assert {value is None for value in seen["max_grad_norm"]} == {True, False}


def test_every_model_has_a_population_of_its_own(tmp_path: Path) -> None:
    options = POPULATION.replace("trials: 8", "trials: 16, equal_per: model")
    sweep = make_population_sweep(tmp_path, options, models="opt-tiny-32, opt-tiny-64")
    search = SearchSession(sweep, tmp_path)
    members = [p for _ in range(8) if (p := search.ask())]
    assert sorted(p.key for p in members) == sorted(
        f"{model}#{i}" for model in ("opt-tiny-32", "opt-tiny-64") for i in range(4)
    )
    stopped = [p for p in members if search.should_prune(p, 10, float(p.number))]
    for member in stopped:
        search.tell(member, make_outcome(1.0, "PRUNED"))
    children = [p for _ in stopped if (p := search.ask())]
    assert sorted(p.group for p in children) == ["opt-tiny-32", "opt-tiny-64"]
    assert all(p.parent and p.parent.group == p.group for p in children)
